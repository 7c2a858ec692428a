/* Trace lines: what a client says and hears, in nats-server's words; secrets are left out.
 * Source: nats-server command-line reference §10. Any loop for what goes out. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "core/base/json.h"
#include "core/base/log.h"
#include "core/broker/client_internal.h"

/* As Go quotes strings. */
static void put_quoted(struct buffer *out, struct bytes text)
{
    buffer_append_char(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        const char *escape = c == '\n'   ? "\\n"
                             : c == '\r' ? "\\r"
                             : c == '\t' ? "\\t"
                             : c == '"'  ? "\\\""
                             : c == '\\' ? "\\\\"
                                         : NULL;
        if (escape != NULL) {
            buffer_append_text(out, escape);
        } else if (c < 0x20 || c == 0x7f) {
            buffer_printf(out, "\\x%02x", c);
        } else {
            buffer_append_char(out, (char)c);
        }
    }
    buffer_append_char(out, '"');
}

static void trace_payload(const struct client *c, const char *arrow, struct bytes payload,
                          uint32_t header_len)
{
    const struct options *o = broker_options(c->broker);
    struct bytes shown = o->trace_headers ? bytes_make(payload.ptr, header_len) : payload;
    int64_t max = o->max_traced_msg_len;
    if (shown.len == 0) {
        return;
    }
    struct buffer text = {0};
    bool cut = max > 0 && shown.len > (uint64_t)max;
    put_quoted(&text, cut ? bytes_make(shown.ptr, (size_t)max) : shown);
    text.len -= cut ? 1 : 0;
    log_trace("%s - %s MSG_PAYLOAD: [%.*s%s]", client_prefix(c).text, arrow,
              BYTES_ARG(buffer_bytes(&text)), cut ? "...\"" : "");
    buffer_deinit(&text);
}

/* Fields of CONNECT that are no secrets. What is not known is one: somebody may have misspelt it.
 */
static bool may_be_shown(const struct client *c, const char *key)
{
    static const char *const shown[] = {
        "verbose", "pedantic",      "tls_required", "name",    "lang",        "version", "protocol",
        "echo",    "no_responders", "headers",      "account", "new_account", "user"};
    bool token_as_user = broker_options(c->broker)->token != NULL && strcasecmp(key, "user") == 0;
    for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++) {
        if (strcasecmp(key, shown[i]) == 0) {
            return !token_as_user;
        }
    }
    return false;
}

static void trace_connect(const struct client *c, struct bytes args)
{
    json_error_t ignored;
    json_t *o = json_parse(args, &ignored);
    struct buffer text = {0};
    if (!json_is_object(o)) {
        buffer_append_text(&text, "not an object");
    } else {
        const char *key;
        json_t *value;
        void *next;
        json_object_foreach_safe(o, next, key, value)
        {
            if (!may_be_shown(c, key)) {
                (void)json_object_set_new(o, key, json_string("[REDACTED]"));
            }
        }
        json_write(&text, o, 0);
    }
    log_trace("%s - <<- [CONNECT %.*s]", client_prefix(c).text, BYTES_ARG(buffer_bytes(&text)));
    buffer_deinit(&text);
    json_decref(o);
}

static void put_word(struct buffer *out, struct bytes word)
{
    if (word.ptr != NULL) {
        buffer_append_char(out, ' ');
        buffer_append_bytes(out, word);
    }
}

void client_trace_in(const struct client *c, const struct proto_op *op)
{
    struct buffer line = {0};
    switch (op->verb) {
    case VERB_CONNECT:
        trace_connect(c, op->args);
        return;
    case VERB_PUB:
        buffer_append_text(&line, op->has_headers ? "HPUB" : "PUB");
        put_word(&line, op->subject);
        put_word(&line, op->reply);
        if (op->has_headers) {
            buffer_printf(&line, " %u", op->header_len);
        }
        put_word(&line, op->size_text);
        break;
    case VERB_SUB:
        buffer_append_text(&line, "SUB");
        put_word(&line, op->subject);
        put_word(&line, op->queue);
        put_word(&line, op->sid);
        break;
    case VERB_UNSUB:
        buffer_append_text(&line, "UNSUB");
        put_word(&line, op->sid);
        put_word(&line, op->max);
        break;
    case VERB_PING:
        buffer_append_text(&line, "PING");
        break;
    case VERB_PONG:
        buffer_append_text(&line, "PONG");
        break;
    default:
        return;
    }
    log_trace("%s - <<- [%.*s]", client_prefix(c).text, BYTES_ARG(buffer_bytes(&line)));
    buffer_deinit(&line);
    if (op->verb == VERB_PUB) {
        trace_payload(c, "<<-", op->payload, op->header_len);
    }
}

void client_trace_out(const struct client *c, struct bytes line)
{
    while (line.len > 0 && (line.ptr[line.len - 1] == '\n' || line.ptr[line.len - 1] == '\r')) {
        line.len--;
    }
    line = bytes_is(line, "+OK") ? bytes_skip(line, 1) : line; /* so nats-server shows it */
    log_trace("%s - ->> [%.*s]", client_prefix(c).text, BYTES_ARG(line));
}

void client_trace_message(const struct client *c, struct bytes encoded, struct bytes payload,
                          uint32_t header_len)
{
    client_trace_out(c, bytes_make(encoded.ptr, encoded.len - payload.len - 2));
    trace_payload(c, "->>", payload, header_len);
}
