/* config: what a stream or consumer was asked to be: JSON to struct, validated, and back in the
 * order and with the defaults of nats-server. What this version cannot do yet is refused by name,
 * never ignored. Source: JetStream streams reference §1, consumers reference §1. */
#ifndef JETSTREAM_STATE_CONFIG_H
#define JETSTREAM_STATE_CONFIG_H

#include "core/base/buffer.h"
#include "core/base/go_time.h"
#include "jetstream/state/api_error.h"

#define JS_NAME_MAX 255
/* What names are made of, for error texts. */
#define JS_NAME_RULE "can not contain '.', '*', '>', '\\', '/'"

struct pattern_set;

enum discard_policy { DISCARD_OLD, DISCARD_NEW };

struct stream_placement {
    char *cluster;   /* NULL: any */
    char *preferred; /* refused */
};

struct stream_config {
    char *name;
    char *description; /* NULL: none */
    char **subjects;   /* owned */
    uint32_t subject_count;
    int64_t max_consumers, max_msgs, max_bytes; /* -1: unlimited */
    int64_t max_age_ns;                         /* 0: unlimited */
    int64_t max_msg_size;                       /* -1: unlimited */
    enum discard_policy discard;
    int replicas;
    int64_t duplicate_window_ns;
    bool memory; /* storage: memory; else file */
    bool no_ack, deny_delete, deny_purge;
    bool pedantic; /* while a request is read */
    struct stream_placement placement;
    json_t *metadata; /* NULL: none; owned reference */
};

/* From a request, STREAM.CREATE's. *config is filled or left empty. `name`: what it has to be, as
 * the subject says it; ptr NULL: any. `clustered` allows replicas > 1. Unknown members are errors.
 */
bool stream_config_read(struct bytes text, struct bytes name, bool clustered,
                        struct stream_config *config, struct js_error *error);
/* From STREAM.UPDATE's. `exists`: is there such a stream? */
bool stream_config_read_update(struct bytes text, struct bytes name, bool exists, bool clustered,
                               struct stream_config *config, struct js_error *error);
/* The same from what stream_config_json() has made, of this version or an older one. */
bool stream_config_parse(json_t *object, bool clustered, struct stream_config *config,
                         struct js_error *error);
/* Would it be, whatever comes out? */
bool stream_config_is_understood(json_t *object);
void stream_config_deinit(struct stream_config *config);
/* As replies print it, without config_put_server(); or, not for clients, as short as it can be
 * parsed from: every server keeps one of every stream. */
json_t *stream_config_json(const struct stream_config *config, bool for_clients);
/* Adds what a single asset's infos say of the server, lists do not: to what is for clients. */
void config_put_server(json_t *config);
bool stream_config_equal(const struct stream_config *a, const struct stream_config *b);
/* May `old` become `new`? */
bool stream_config_check_update(const struct stream_config *old, const struct stream_config *new,
                                struct js_error *error);
/* In a cluster, of which a stream has its part. */
bool stream_config_check_place(const struct stream_config *old, const struct stream_config *new,
                               struct js_error *error);

enum deliver_policy {
    DELIVER_ALL,
    DELIVER_LAST,
    DELIVER_NEW,
    DELIVER_BY_START_SEQUENCE,
    DELIVER_BY_START_TIME
};
enum ack_policy { ACK_NONE, ACK_EXPLICIT };

/* What is looked for: subjects that match one of the list; an empty one: any. */
struct filters {
    char *const *list;
    uint32_t count;
    const struct pattern_set *set; /* the same list; NULL when it is short */
};

struct consumer_config {
    char *name;
    bool durable;
    char *description;
    enum deliver_policy deliver;
    uint64_t opt_start_seq;
    struct go_time opt_start_time;
    enum ack_policy ack;
    int64_t ack_wait_ns;
    int64_t max_deliver; /* -1: unlimited */
    int64_t *backoff_ns;
    uint32_t backoff_count;
    char **filters;
    uint32_t filter_count;
    struct pattern_set *filter_set;               /* the same, when they are many; NULL: few */
    bool filter_was_list;                         /* printed as filter_subjects */
    int64_t max_waiting, max_ack_pending;         /* -1: unlimited */
    int64_t max_batch, max_expires_ns, max_bytes; /* caps of pull requests; 0: none */
    int replicas; /* as it was asked for: 0 or the stream's number, which is the same */
    json_t *metadata;
};

enum consumer_action { CONSUMER_CREATE_OR_UPDATE, CONSUMER_CREATE, CONSUMER_UPDATE };

/* What the subject of a request says, CONSUMER.CREATE.<stream>[.<consumer>[.<filter>]], and what
 * there is. */
struct consumer_subject {
    const char *stream, *consumer, *filter; /* NULL: not there */
    bool durable_form;                      /* CONSUMER.DURABLE.CREATE */
    bool clustered;
    int replicas; /* of the stream; 0: there is none, which is the error unless it is another one */
};
/* From a request; what subject and body say must agree. *config is filled or left empty. */
bool consumer_config_read(struct bytes text, const struct consumer_subject *subject,
                          struct consumer_config *config, enum consumer_action *action,
                          struct js_error *error);
/* From what consumer_config_json() has made, of this version or an older one. */
bool consumer_config_parse(json_t *object, struct consumer_config *config, struct js_error *error);
void consumer_config_deinit(struct consumer_config *config);
json_t *consumer_config_json(const struct consumer_config *config, bool for_clients);
static inline struct filters consumer_filters(const struct consumer_config *config)
{
    return (struct filters){config->filters, config->filter_count, config->filter_set};
}
bool consumer_config_equal(const struct consumer_config *a, const struct consumer_config *b);
bool consumer_config_check_update(const struct consumer_config *old,
                                  const struct consumer_config *new, struct js_error *error);

/* Non-empty, no blanks, none of . * > / \ */
bool js_name_is_valid(struct bytes name);

#endif
