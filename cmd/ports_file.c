#include "ports_file.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/base/json.h"
#include "core/base/log.h"

static void path_of(struct buffer *path, const char *folder, const char *program)
{
    const char *slash = strrchr(program, '/');
    buffer_printf(path, "%s/%s_%d.ports%c", folder, slash == NULL ? program : slash + 1,
                  (int)getpid(), '\0');
}

static void add_url(json_t *urls, const char *scheme, const char *host, int port)
{
    char text[300];
    (void)snprintf(text, sizeof text, strchr(host, ':') != NULL ? "%s://[%s]:%d" : "%s://%s:%d",
                   scheme, host, port);
    (void)json_array_append_new(urls, json_string(text));
}

/* One URL, or one for each address of the machine when all of them are listened on. */
static void add_urls(json_t *object, const char *key, const char *scheme, const char *host,
                     int port)
{
    if (port == 0) {
        return;
    }
    json_t *urls = json_array();
    struct ifaddrs *list = NULL;
    bool all = strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
    if (all && getifaddrs(&list) == 0) {
        for (const struct ifaddrs *i = list; i != NULL; i = i->ifa_next) {
            char text[INET6_ADDRSTRLEN];
            if (i->ifa_addr != NULL && i->ifa_addr->sa_family == AF_INET) {
                const struct sockaddr_in *in =
                    (const struct sockaddr_in *)(const void *)i->ifa_addr;
                (void)inet_ntop(AF_INET, &in->sin_addr, text, sizeof text);
                add_url(urls, scheme, text, port);
            }
        }
        freeifaddrs(list);
    }
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
    FILE *f = fopen(path.data, "w");
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
