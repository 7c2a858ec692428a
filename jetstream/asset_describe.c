/* A stream and its consumers as API replies have them. JetStream API reference §2. */
#include <stdio.h>
#include <stdlib.h>

#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/subject/subject.h"
#include "jetstream/asset_internal.h"

json_t *asset_cluster_json(struct asset *a)
{
    json_t *o = json_object();
    struct group_status status = group_status(a->group);
    const struct options *options = broker_options(a->js->broker);
    bool replicated = js_is_clustered(a->js) && a->peer_count > 1;
    if (js_is_clustered(a->js)) {
        json_put_text(o, "name", options->cluster.name == NULL ? "" : options->cluster.name);
    }
    if (replicated) {
        char group[64];
        (void)snprintf(group, sizeof group, "S-R%uF-%llu", a->peer_count,
                       (unsigned long long)group_id(a->group));
        json_put_text(o, "raft_group", group);
    }
    const char *leader = js_node_name(a->js, status.leader_node);
    if (leader != NULL) {
        json_put_text(o, "leader", leader);
    }
    if (replicated && a->leading) {
        json_put_time(o, "leader_since", a->leader_since_ns);
    }
    if (replicated) { /* its traffic is the system's, whoever the stream belongs to */
        json_put_bool(o, "system_account", true);
        json_put_text(o, "traffic_account", broker_system_account(a->js->broker)->name);
    }
    if (a->peer_count > 1) {
        json_t *replicas = json_array();
        for (unsigned i = 0; i < a->peer_count; i++) {
            if (a->peers[i] == status.leader_node) {
                continue;
            }
            struct raft_peer_state p = raft_peer_state(group_raft(a->group), a->peers[i]);
            bool up = peers_is_up(a->js->peers, a->peers[i]);
            const char *name = js_node_name(a->js, a->peers[i]);
            char id[9];
            js_node_id8(a->js, a->peers[i], id);
            json_t *r = json_object();
            json_put_text(r, "name", name == NULL ? id : name);
            json_put_bool(r, "current", status.leader ? p.current : up);
            if (!up) {
                json_put_bool(r, "offline", true);
            }
            json_put_int(r, "active", peers_silence_ns(a->js->peers, a->peers[i]));
            if (status.leader && p.match < status.commit) {
                json_put_u64(r, "lag", status.commit - p.match);
            }
            json_put_text(r, "peer", id);
            (void)json_array_append_new(replicas, r);
        }
        json_put(o, "replicas", replicas);
    }
    return o;
}

static json_t *deleted_json(const struct holes *holes)
{
    json_t *list = json_array();
    struct hole hole = {0};
    while (holes_next(holes, hole.to + 1, &hole)) {
        for (uint64_t seq = hole.from; seq <= hole.to; seq++) {
            (void)json_array_append_new(list, json_integer((json_int_t)seq));
        }
    }
    return list;
}

json_t *asset_state_json(struct asset *a, bool deleted)
{
    const struct stream *s = a->stream;
    json_t *o = json_object();
    json_put_u64(o, "messages", s->totals.messages);
    json_put_u64(o, "bytes", s->totals.bytes);
    json_put_u64(o, "first_seq", s->totals.last_seq == 0 ? 0 : s->totals.first_seq);
    json_put_time(o, "first_ts", s->totals.first_ns);
    json_put_u64(o, "last_seq", s->totals.last_seq);
    json_put_time(o, "last_ts", s->totals.last_ns);
    if (s->subjects.count > 0) {
        json_put_int(o, "num_subjects", s->subjects.count);
    }
    if (s->deleted.total > 0) {
        json_put_u64(o, "num_deleted", s->deleted.total);
        if (deleted) {
            json_put(o, "deleted", deleted_json(&s->deleted));
        }
    }
    json_put_int(o, "consumer_count", s->consumers.count);
    return o;
}

uint32_t asset_add_subjects(struct asset *a, const char *filter, uint32_t offset, uint32_t limit,
                            json_t *state)
{
    uint32_t count;
    struct subject_state **list;
    uint32_t total = stream_subjects(a->stream, filter, offset, limit, &list, &count);
    json_t *subjects = json_object();
    for (uint32_t i = 0; i < count; i++) {
        char *key = mem_dup(list[i]->subject, list[i]->len);
        json_put_u64(subjects, key, list[i]->count);
        free(key);
    }
    free(list);
    if (count > 0) {
        json_put(state, "subjects", subjects);
    } else {
        json_decref(subjects);
    }
    return total;
}

static void put_config(json_t *o, enum info_place place, json_t *config)
{
    if (place != INFO_LISTED) {
        config_put_server(config);
    }
    json_put(o, "config", config);
}

void asset_add_stream_info(struct asset *a, enum info_place place, json_t *o)
{
    put_config(o, place, stream_config_json(&a->stream->config, true));
    json_put_time(o, "created", a->stream->created_ns);
    json_put(o, "state", asset_state_json(a, false));
    if (js_is_clustered(a->js) || place != INFO_CHANGED) {
        json_put(o, "cluster", asset_cluster_json(a));
    }
    json_put_time(o, "ts", clock_now_ns());
}

static json_t *sequence_json(uint64_t consumer, uint64_t stream, int64_t active_ns)
{
    json_t *o = json_object();
    json_put_u64(o, "consumer_seq", consumer);
    json_put_u64(o, "stream_seq", stream);
    if (active_ns != 0) {
        json_put_time(o, "last_active", active_ns);
    }
    return o;
}

void asset_add_consumer_info(struct asset *a, enum info_place place, const struct consumer *c,
                             json_t *o)
{
    json_put_text(o, "stream_name", a->name);
    json_put_text(o, "name", c->config.name);
    json_put_time(o, "created", c->created_ns);
    if (place != INFO_BARE) {
        put_config(o, place, consumer_config_json(&c->config, true));
    }
    json_put(o, "delivered",
             sequence_json(c->delivered_seq, c->delivered_stream_seq, c->last_delivered_ns));
    json_put(o, "ack_floor", sequence_json(c->floor_seq, c->floor_stream_seq, c->last_acked_ns));
    json_put_int(o, "num_ack_pending", c->ack_pending);
    json_put_u64(o, "num_redelivered", consumer_redelivered(c));
    json_put_int(o, "num_waiting", c->leader == NULL ? 0 : pulls_waiting(c->leader));
    json_put_u64(o, "num_pending", consumer_left(a->stream, c));
    if (js_is_clustered(a->js)) {
        json_put(o, "cluster", asset_cluster_json(a));
    }
    json_put_time(o, "ts", clock_now_ns());
}

static json_t *begin_description(const struct asset *a)
{
    json_t *o = json_object();
    json_put_text(o, "name", a->name);
    json_put_text(o, "account", a->account->name);
    json_put_bool(o, "leading", a->leading);
    json_put_int(o, "replicas", a->peer_count);
    return o;
}

json_t *asset_summary(struct asset *a)
{
    json_t *o = begin_description(a);
    json_t *info = json_object();
    json_t *config = json_object();
    json_t *state = json_object();
    json_put_int(config, "max_bytes", a->stream->config.max_bytes);
    json_put_text(config, "storage", a->stream->config.memory ? "memory" : "file");
    json_put_u64(state, "messages", a->stream->totals.messages);
    json_put_u64(state, "bytes", a->stream->totals.bytes);
    json_put_u64(state, "last_seq", a->stream->totals.last_seq);
    json_put_int(state, "consumer_count", a->stream->consumers.count);
    json_put(info, "config", config);
    json_put(info, "state", state);
    json_put(o, "info", info);
    return o;
}

json_t *asset_describe(struct asset *a)
{
    json_t *o = begin_description(a);
    json_t *info = json_object();
    asset_add_stream_info(a, INFO_LISTED, info);
    json_put(o, "info", info);
    return o;
}
