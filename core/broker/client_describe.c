/* Clients as /connz shows them. */
#include <stdio.h>

#include "core/base/clock.h"
#include "core/base/json.h"
#include "core/broker/client_internal.h"

static void describe_subscriptions(const struct client *c, const struct connz_options *options,
                                   json_t *object)
{
    json_t *list = json_array();
    struct map_entry *e;
    for (uint32_t i = 0; (e = map_next(&c->subs, &i)) != NULL;) {
        const struct subscription *sub = e->value;
        if (!options->detail) {
            (void)json_array_append_new(
                list, json_stringn(sub->entry.subject.ptr, sub->entry.subject.len));
            continue;
        }
        json_t *detail = json_object();
        json_put_bytes(detail, "subject", sub->entry.subject);
        if (sub->entry.queue.ptr != NULL) {
            json_put_bytes(detail, "qgroup", sub->entry.queue);
        }
        json_put_bytes(detail, "sid", sub->sid);
        json_put_u64(detail, "msgs", sub->delivered);
        if (sub->max > 0) {
            json_put_u64(detail, "max", sub->max);
        }
        json_put_u64(detail, "cid", c->conn->id);
        (void)json_array_append_new(list, detail);
    }
    json_put(object, options->detail ? "subscriptions_list_detail" : "subscriptions_list", list);
}

void broker_describe_clients(struct broker *broker, const struct connz_options *options,
                             json_t *array)
{
    int64_t now = clock_now_ns();
    for (const struct client *c = broker_here(broker)->clients; c != NULL; c = c->next) {
        json_t *o = json_object();
        json_put_u64(o, "cid", c->conn->id);
        json_put_text(o, "kind", "Client");
        json_put_text(o, "type", "nats");
        json_put_text(o, "ip", c->conn->remote_host);
        json_put_int(o, "port", c->conn->remote_port);
        json_put_time(o, "start", c->conn->start_ns);
        json_put_time(o, "last_activity", c->last_activity_ns);
        char text[48];
        if (c->rtt_ns > 0) {
            (void)snprintf(text, sizeof text, "%lld\xc2\xb5s", (long long)(c->rtt_ns / 1000));
            json_put_text(o, "rtt", text);
        }
        clock_format_uptime(now - c->conn->start_ns, text);
        json_put_text(o, "uptime", text);
        clock_format_uptime(now - c->last_activity_ns, text);
        json_put_text(o, "idle", text);
        pthread_mutex_lock(&c->conn->lock);
        uint64_t pending = c->conn->pending, out_msgs = c->conn->out_msgs;
        uint64_t out_bytes = c->conn->out_bytes;
        pthread_mutex_unlock(&c->conn->lock);
        json_put_u64(o, "pending_bytes", pending);
        json_put_u64(o, "in_msgs", c->in_msgs);
        json_put_u64(o, "out_msgs", out_msgs);
        json_put_u64(o, "in_bytes", c->in_bytes);
        json_put_u64(o, "out_bytes", out_bytes);
        if (c->stalls > 0) {
            json_put_u64(o, "stalls", c->stalls);
        }
        json_put_int(o, "subscriptions", c->subs.count);
        if (c->name != NULL) {
            json_put_bytes(o, "name", bytes_of(c->name));
        }
        if (c->lang != NULL) {
            json_put_bytes(o, "lang", bytes_of(c->lang));
        }
        if (c->version != NULL) {
            json_put_bytes(o, "version", bytes_of(c->version));
        }
        if (c->conn->secured) {
            char cipher[64];
            tls_session_cipher(c->conn->tls, cipher);
            json_put_text(o, "tls_version", tls_session_version(c->conn->tls));
            json_put_text(o, "tls_cipher_suite", cipher);
        }
        if (options->auth) {
            if (c->user != NULL && c->user->name[0] != '\0') {
                json_put_text(o, "authorized_user", c->user->name);
            }
            if (strcmp(c->account->name, "$G") != 0) {
                json_put_text(o, "account", c->account->name);
            }
        }
        if (options->subscriptions || options->detail) {
            describe_subscriptions(c, options, o);
        }
        (void)json_array_append_new(array, o);
    }
}
