/* Advisories: events of streams and consumers, published for whoever listens. JetStream API
 * reference §8. */
#include "core/base/clock.h"
#include "core/base/random.h"
#include "jetstream/asset_internal.h"

static json_t *advisory_new(const struct asset *a, const char *type)
{
    json_t *o = json_object();
    char id[23];
    random_base62(id, 22);
    json_put_text(o, "type", type);
    json_put_text(o, "id", id);
    json_put_time(o, "timestamp", clock_now_ns());
    json_put_text(o, "stream", a->name);
    return o;
}

/* Releases both. */
static void tell(struct asset *a, struct buffer *subject, json_t *o)
{
    struct buffer text = {0};
    json_write(&text, o, 0);
    json_decref(o);
    const struct message m = {.subject = buffer_bytes(subject), .payload = buffer_bytes(&text)};
    (void)broker_publish_event(a->js->broker, a->account, &m);
    buffer_deinit(&text);
    buffer_deinit(subject);
}

void advise_leader(struct asset *a)
{
    struct buffer subject = {0};
    buffer_printf(&subject, "$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.%s", a->name);
    json_t *o = advisory_new(a, "io.nats.jetstream.advisory.v1.stream_leader_elected");
    json_t *cluster = asset_cluster_json(a);
    json_put_text(o, "leader", broker_server_name(a->js->broker));
    json_put(o, "replicas", json_incref(json_object_get(cluster, "replicas")));
    json_decref(cluster);
    tell(a, &subject, o);
}

void advise_nak(struct asset *a, struct consumer *c, uint64_t stream_seq)
{
    struct buffer subject = {0};
    buffer_printf(&subject, "$JS.EVENT.ADVISORY.CONSUMER.MSG_NAKED.%s.%s", a->name, c->config.name);
    if (!broker_has_interest(a->account, buffer_bytes(&subject))) {
        buffer_deinit(&subject);
        return;
    }
    const struct pending_message *p = consumer_pending(c, stream_seq);
    json_t *o = advisory_new(a, "io.nats.jetstream.advisory.v1.nak");
    json_put_text(o, "consumer", c->config.name);
    json_put_u64(o, "consumer_seq", p == NULL ? 0 : p->consumer_seq);
    json_put_u64(o, "stream_seq", stream_seq);
    json_put_u64(o, "deliveries", p == NULL ? 0 : p->deliveries);
    tell(a, &subject, o);
}

void advise_max_deliver(struct asset *a, const struct consumer *c, uint64_t stream_seq,
                        uint64_t deliveries)
{
    struct buffer subject = {0};
    buffer_printf(&subject, "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.%s.%s", a->name,
                  c->config.name);
    json_t *o = advisory_new(a, "io.nats.jetstream.advisory.v1.max_deliver");
    json_put_text(o, "consumer", c->config.name);
    json_put_u64(o, "stream_seq", stream_seq);
    json_put_u64(o, "deliveries", deliveries);
    tell(a, &subject, o);
}
