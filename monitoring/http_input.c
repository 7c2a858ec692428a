#include "monitoring/http_input.h"

#include "core/base/check.h"

#define HEAD_END "\r\n\r\n"
#define END_LEN  4

void http_input_deinit(struct http_input *in)
{
    buffer_deinit(&in->bytes);
    *in = (struct http_input){.ended = true};
}

void http_input_feed(struct http_input *in, struct bytes bytes)
{
    if (!in->ended) {
        buffer_append_bytes(&in->bytes, bytes);
    }
}

static size_t left(const struct http_input *in)
{
    return in->bytes.len - in->at;
}

static void skip_body(struct http_input *in)
{
    size_t now = in->skip < left(in) ? (size_t)in->skip : left(in);
    in->at += now;
    in->skip -= now;
}

/* What was cut off goes now, once per piece that was fed and not once per request. */
static enum http_input_status want_more(struct http_input *in)
{
    if (left(in) == 0) {
        buffer_deinit(&in->bytes); /* an idle connection keeps no buffer */
    } else {
        buffer_consume(&in->bytes, in->at);
    }
    in->at = 0;
    return HTTP_INPUT_MORE;
}

static enum http_input_status end(struct http_input *in, enum http_input_status status)
{
    http_input_deinit(in);
    return status;
}

/* Length of the head that begins at `at`, or 0 while its end is not there. */
static size_t find_head(struct http_input *in)
{
    size_t from = in->seen < END_LEN ? 0 : in->seen - (END_LEN - 1);
    const char *head = in->bytes.data + in->at;
    const char *found = memmem(head + from, left(in) - from, HEAD_END, END_LEN);
    in->seen = left(in);
    return found == NULL ? 0 : (size_t)(found - head) + END_LEN;
}

enum http_input_status http_input_next(struct http_input *in, struct http_head *head)
{
    skip_body(in);
    if (in->ended || left(in) == 0) {
        return in->ended ? HTTP_INPUT_MORE : want_more(in);
    }
    size_t len = find_head(in);
    if (len > HTTP_HEADERS_MAX || (len == 0 && left(in) > HTTP_HEADERS_MAX)) {
        *head = (struct http_head){0};
        return end(in, HTTP_INPUT_TOO_LONG);
    }
    if (len == 0) {
        return want_more(in);
    }
    bool ok = http_head_parse(head, bytes_make(in->bytes.data + in->at, len));
    if (!ok || !head->keep_alive) {
        return end(in, ok ? HTTP_INPUT_REQUEST : HTTP_INPUT_BAD);
    }
    CHECK(head->body_len <= HTTP_BODY_MAX);
    in->at += len;
    in->seen = 0;
    in->skip = head->body_len;
    return HTTP_INPUT_REQUEST;
}

bool http_input_is_amid(const struct http_input *in)
{
    return left(in) > 0 || in->skip > 0;
}
