#include "monitoring/http_head.h"

#include <stdlib.h>
#include <strings.h>

#include "core/base/mem.h"

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static void decode(char *text)
{
    char *out = text;
    for (const char *in = text; *in != '\0'; in++) {
        if (in[0] == '%' && hex(in[1]) >= 0 && hex(in[2]) >= 0) {
            *out++ = (char)(hex(in[1]) * 16 + hex(in[2]));
            in += 2;
        } else {
            *out++ = *in == '+' ? ' ' : *in;
        }
    }
    *out = '\0';
}

static void split_target(struct http_head *head)
{
    char *query = strchr(head->target, '?');
    if (query != NULL) {
        *query++ = '\0';
    }
    head->path = head->target;
    while (query != NULL && *query != '\0' && head->count < HTTP_PARAMETERS_MAX) {
        char *next = strchr(query, '&');
        if (next != NULL) {
            *next++ = '\0';
        }
        char *value = strchr(query, '=');
        if (value != NULL) {
            *value++ = '\0';
            decode(value);
        }
        head->names[head->count] = query;
        head->values[head->count++] = value == NULL ? "" : value;
        query = next;
    }
    decode(head->target);
}

bool http_head_parse(struct http_head *head, struct bytes text)
{
    struct bytes rest = text;
    struct bytes line, method, target;
    *head = (struct http_head){0};
    (void)bytes_token(&rest, '\n', &line);
    bool ok = bytes_token(&line, ' ', &method) && bytes_token(&line, ' ', &target) &&
              target.len > 0 && target.ptr[0] == '/' && bytes_starts(line, BYTES_LIT("HTTP/1."));
    head->is_head = ok && bytes_is(method, "HEAD");
    head->keep_alive = ok && !bytes_starts(line, BYTES_LIT("HTTP/1.0"));
    head->target = ok ? mem_dup(target.ptr, target.len) : mem_strdup("/");
    while (bytes_token(&rest, '\n', &line)) {
        if (line.len >= 17 && strncasecmp(line.ptr, "connection: close", 17) == 0) {
            head->keep_alive = false;
        }
    }
    split_target(head);
    return ok;
}

void http_head_deinit(struct http_head *head)
{
    free(head->target);
    head->target = NULL;
}

const char *http_head_query(const struct http_head *head, const char *name)
{
    for (unsigned i = 0; i < head->count; i++) {
        if (strcmp(head->names[i], name) == 0) {
            return head->values[i];
        }
    }
    return NULL;
}
