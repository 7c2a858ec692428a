#include "monitoring/http_head.h"

#include <stdlib.h>
#include <string.h>
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
        int byte =
            in[0] == '%' && hex(in[1]) >= 0 && hex(in[2]) >= 0 ? hex(in[1]) * 16 + hex(in[2]) : 0;
        if (byte != 0) { /* %00 stays as it is: it would end the text */
            *out++ = (char)byte;
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
        head->query = *query == '\0' ? NULL : mem_strdup(query);
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

/* What a header line says when it is `name`'s; else ptr is NULL. */
static struct bytes header_value(struct bytes line, const char *name)
{
    size_t len = strlen(name);
    if (line.len <= len || line.ptr[len] != ':' || strncasecmp(line.ptr, name, len) != 0) {
        return BYTES_NONE;
    }
    struct bytes value = bytes_skip(line, len + 1);
    while (value.len > 0 && strchr(" \t", value.ptr[0]) != NULL && value.ptr[0] != '\0') {
        value = bytes_skip(value, 1);
    }
    while (value.len > 0 && strchr(" \t\r", value.ptr[value.len - 1]) != NULL) {
        value.len--;
    }
    return value;
}

/* How many bytes follow that are not the next request. False when that cannot be told. */
static bool take_length(struct http_head *head, struct bytes line)
{
    struct bytes length = header_value(line, "Content-Length");
    uint64_t number;
    if (header_value(line, "Transfer-Encoding").ptr != NULL) {
        head->keep_alive = false; /* its end is not looked for */
    }
    if (length.ptr == NULL) {
        return true;
    }
    if (!bytes_to_u64(length, &number) || (head->has_length && head->body_len != number)) {
        return false;
    }
    head->has_length = true;
    head->body_len = number;
    return true;
}

/* A name and a colon, with nothing in between: others may take "Content-Length : 5" for the length
 * that it is not. What begins with a blank belongs to the line above. */
static bool is_header_line(struct bytes line)
{
    const char *colon = line.len == 0 ? NULL : memchr(line.ptr, ':', line.len);
    bool folded = line.len > 0 && (line.ptr[0] == ' ' || line.ptr[0] == '\t');
    return folded || (colon != NULL && colon > line.ptr && colon[-1] != ' ' && colon[-1] != '\t');
}

/* Neither blanks nor control characters, NUL among them: what follows works on C strings. */
static bool is_target(struct bytes target)
{
    bool ok = target.len > 0 && target.ptr[0] == '/';
    for (size_t i = 0; ok && i < target.len; i++) {
        ok = (unsigned char)target.ptr[i] > ' ' && target.ptr[i] != 0x7f;
    }
    return ok;
}

bool http_head_parse(struct http_head *head, struct bytes text)
{
    struct bytes rest = text;
    struct bytes line, method, target;
    *head = (struct http_head){0};
    (void)bytes_token(&rest, '\n', &line);
    bool ok = bytes_token(&line, ' ', &method) && bytes_token(&line, ' ', &target) &&
              is_target(target) && bytes_starts(line, BYTES_LIT("HTTP/1."));
    head->is_head = ok && bytes_is(method, "HEAD");
    head->keep_alive = ok && !bytes_starts(line, BYTES_LIT("HTTP/1.0"));
    head->target = ok ? mem_dup(target.ptr, target.len) : mem_strdup("/");
    while (bytes_token(&rest, '\n', &line)) {
        bool over = line.len == 0 || bytes_is(line, "\r");
        ok = ok && (over || is_header_line(line));
        struct bytes connection = header_value(line, "Connection");
        if (connection.ptr != NULL && bytes_eq_nocase(connection, BYTES_LIT("close"))) {
            head->keep_alive = false;
        }
        ok = take_length(head, line) && ok;
    }
    head->keep_alive = head->keep_alive && ok && head->body_len <= HTTP_BODY_MAX;
    split_target(head);
    return ok;
}

void http_put_location(struct buffer *out, const char *path, const char *query)
{
    for (const char *p = path; *p != '\0'; p++) {
        bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                     (*p >= '0' && *p <= '9') || strchr("/-._~!$&'()*+,;=:@", *p) != NULL;
        if (plain) {
            buffer_append_char(out, *p);
        } else {
            buffer_printf(out, "%%%02X", (unsigned char)*p);
        }
    }
    for (const char *q = query; q != NULL && *q != '\0'; q++) {
        if (q == query) {
            buffer_append_char(out, '?');
        }
        if (*q > ' ' && *q < 0x7f) {
            buffer_append_char(out, *q);
        } else {
            buffer_printf(out, "%%%02x", (unsigned char)*q);
        }
    }
}

void http_head_deinit(struct http_head *head)
{
    free(head->target);
    free(head->query);
    head->target = head->query = NULL;
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
