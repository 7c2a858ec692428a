#include "ports_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/base/file_mode.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/url.h"
#include "core/net/socket.h"

static void path_of(struct buffer *path, const char *folder, const char *program)
{
    const char *slash = strrchr(program, '/');
    buffer_printf(path, "%s/%s_%d.ports%c", folder, slash == NULL ? program : slash + 1,
                  (int)getpid(), '\0');
}

static void add_url(json_t *urls, const char *scheme, const char *host, int port)
{
    struct buffer text = {0};
    buffer_printf(&text, "%s://%s", scheme, address_text(host, port).text);
    (void)json_array_append_new(urls, json_bytes(buffer_bytes(&text)));
    buffer_deinit(&text);
}

/* One URL, or one for each address of the machine when all of them are listened on. */
static void add_urls(json_t *object, const char *key, const char *scheme, const char *host,
                     int port)
{
    if (port == 0) {
        return;
    }
    json_t *urls = json_array();
    struct text_list own = {0};
    if (net_is_wildcard(host)) {
        net_own_addresses(&own, true);
    }
    for (uint32_t i = 0; i < own.count; i++) {
        add_url(urls, scheme, own.items[i], port);
    }
    text_list_clear(&own);
    if (json_array_size(urls) == 0) {
        add_url(urls, scheme, host, port);
    }
    json_put(object, key, urls);
}

void ports_file_write(const char *folder, const char *program, const struct ports *ports)
{
    struct buffer path = {0}, text = {0};
    json_t *object = json_object();
    add_urls(object, "nats", "nats", ports->clients.host, ports->clients.port);
    add_urls(object, "monitoring", "http", ports->monitoring.host, ports->monitoring.port);
    add_urls(object, "cluster", "nats", ports->cluster.host, ports->cluster.port);
    json_write(&text, object, 0);
    json_decref(object);
    path_of(&path, folder, program);
    int fd = file_open_shared(path.data, O_WRONLY | O_TRUNC, 0644);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    bool written = f != NULL && fwrite(text.data, 1, text.len, f) == text.len;
    if ((f != NULL && fclose(f) != 0) || !written) {
        log_error("Error writing ports file (%s): %s", path.data, strerror(errno));
    }
    buffer_deinit(&path);
    buffer_deinit(&text);
}

void ports_file_remove(const char *folder, const char *program)
{
    struct buffer path = {0};
    if (folder != NULL) {
        path_of(&path, folder, program);
        (void)unlink(path.data);
    }
    buffer_deinit(&path);
}
