/* The streams of a server as /jsz has them, written as text in slices.
 *
 * figures → the head of a description → names of the consumers → sorted → each described by its
 * name. Between two slices consumers come and go, and so may the stream itself: what is written of
 * it then ends there. */
#include <stdio.h>
#include <stdlib.h>

#include "core/base/clock.h"
#include "core/base/heap.h"
#include "core/base/mem.h"
#include "jetstream/asset_internal.h"

#define NAMES_SLICE 64
#define MARGIN      8  /* where an item of "stream_detail" stands … */
#define DEEPER      12 /* … and one of its "consumer_detail" */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void write_head(const struct stream_walk *w, struct asset *a)
{
    char hash[20];
    (void)snprintf(hash, sizeof hash, "%016llx", (unsigned long long)a->stream->content_hash);
    json_t *o = json_object();
    json_put_text(o, "name", a->name);
    json_put_time(o, "created", a->stream->created_ns);
    json_put(o, "cluster", asset_cluster_json(a));
    if (w->config) {
        json_put(o, "config", stream_config_json(&a->stream->config, true));
    }
    json_put(o, "state", asset_state_json(a, false));
    json_put_text(o, "trireme_content_hash", hash);
    buffer_printf(w->out, "%s\n%*s", w->out->len == 0 ? "" : ",", MARGIN, "");
    json_write_open(w->out, o, 2, MARGIN);
    json_decref(o);
    if (w->consumers) {
        buffer_printf(w->out, ",\n%*s\"consumer_detail\": [", MARGIN + 2, "");
    }
}

static void begin(struct stream_walk *w, struct asset *a)
{
    const struct stream *s = a->stream;
    const struct stream_figures figures = {.account = a->account->name,
                                           .name = a->name,
                                           .leading = a->leading,
                                           .memory = s->config.memory,
                                           .replicas = a->peer_count,
                                           .consumers = s->consumers.count,
                                           .messages = s->totals.messages,
                                           .bytes = s->totals.bytes,
                                           .last_seq = s->totals.last_seq};
    w->out = w->on_stream(w->arg, &figures);
    if (w->out != NULL) {
        w->names = (struct heap){.item_bytes = sizeof(char *), .compare = compare_names};
        write_head(w, a);
    }
}

/* The description is whole, or its stream has gone. */
static void end(struct stream_walk *w)
{
    if (w->out != NULL) {
        if (w->previous != NULL) {
            buffer_printf(w->out, "\n%*s", MARGIN + 2, "");
        }
        buffer_printf(w->out, "%s\n%*s}", w->consumers ? "]" : "", MARGIN, "");
    }
    for (size_t i = 0; i < w->names.count; i++) {
        free(((char **)w->names.items)[i]);
    }
    free(w->names.items);
    w->names = (struct heap){0};
    w->out = NULL;
    w->previous = NULL;
    w->position = 0;
    w->stage = STREAM_WALK_NAMES;
}

/* False: it has all of them. */
static bool take_names(struct stream_walk *w, const struct asset *a)
{
    for (int i = 0; i < NAMES_SLICE; i++) {
        const struct map_entry *e = map_next(&a->stream->consumers, &w->position);
        if (e == NULL) {
            return false;
        }
        char *name = mem_dup(e->key.ptr, e->key.len);
        heap_offer(&w->names, &name, SIZE_MAX);
    }
    return true;
}

static void write_consumer(struct stream_walk *w, struct asset *a, const char *name)
{
    const struct consumer *c = map_get(&a->stream->consumers, bytes_of(name));
    if (c == NULL || (w->previous != NULL && strcmp(w->previous, name) == 0)) {
        return; /* deleted meanwhile; met twice, for the map has grown */
    }
    json_t *o = json_object();
    asset_add_consumer_info(a, w->config ? INFO_LISTED : INFO_BARE, c, o);
    buffer_printf(w->out, "%s\n%*s", w->previous == NULL ? "" : ",", DEEPER, "");
    json_write_within(w->out, o, 2, DEEPER);
    json_decref(o);
    w->previous = name;
}

/* Some more of the description; false when it is whole. */
static bool go_on(struct stream_walk *w, struct asset *a)
{
    switch (w->stage) {
    case STREAM_WALK_NAMES:
        w->stage = take_names(w, a) ? STREAM_WALK_NAMES : STREAM_WALK_SORT;
        return true;
    case STREAM_WALK_SORT:
        w->stage = heap_sort(&w->names, NAMES_SLICE) ? STREAM_WALK_CONSUMERS : STREAM_WALK_SORT;
        w->position = 0;
        return true;
    case STREAM_WALK_CONSUMERS:
        break;
    }
    if (w->position == w->names.count) {
        return false;
    }
    write_consumer(w, a, ((char **)w->names.items)[w->position++]);
    return true;
}

bool jetstream_walk_streams(struct stream_walk *w)
{
    int64_t until = clock_mono_ns() + ASSET_WALK_SLICE_NS;
    do {
        struct asset *a = asset_walk_at(&w->at);
        if (w->at.moved) {
            w->at.moved = false;
            end(w);
        }
        if (a == NULL) {
            return true;
        }
        if (w->out == NULL) {
            begin(w, a);
        }
        if (w->out == NULL || !w->consumers || !go_on(w, a)) {
            end(w);
            asset_walk_next(&w->at);
        }
    } while (clock_mono_ns() < until);
    return false;
}
