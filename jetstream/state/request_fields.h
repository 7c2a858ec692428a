/* request_fields: what the bodies of requests may say, other than configurations. Read with
 * fields_read() into zeros, then fields_deinit(). Source: JetStream API reference §3, §4. */
#ifndef JETSTREAM_STATE_REQUEST_FIELDS_H
#define JETSTREAM_STATE_REQUEST_FIELDS_H

#include "core/base/go_time.h"
#include "jetstream/state/fields.h"

/* STREAM.NAMES, STREAM.LIST, CONSUMER.NAMES, CONSUMER.LIST */
struct page_request {
    int64_t offset;
    char *subject;
};
extern const struct fields stream_names_fields, stream_list_fields, consumer_page_fields;

struct info_request {
    int64_t offset;
    bool deleted_details;
    char *subjects_filter;
};
extern const struct fields info_fields;

struct purge_request {
    uint64_t seq, keep;
    char *filter;
};
extern const struct fields purge_fields;

struct get_request {
    uint64_t seq;
    char *last_by_subject, *next_by_subject;
    int64_t batch, max_bytes;
    struct go_time start_time;
    bool no_headers;
    /* not for STREAM.MSG.GET */
    char **multi_last;
    uint32_t multi_count;
    uint64_t up_to_seq;
    struct go_time up_to_time;
};
extern const struct fields get_fields;

struct delete_request {
    uint64_t seq;
    bool no_erase;
};
extern const struct fields delete_fields;

/* CONSUMER.MSG.NEXT */
struct next_request {
    int64_t expires_ns, batch, max_bytes, heartbeat_ns;
    bool no_wait;
    char *group, *id;
    int64_t min_pending, min_ack_pending, priority;
};
extern const struct fields next_fields;

/* SERVER.ADMIT, which is ours alone */
struct admit_request {
    char *peer;
};
extern const struct fields admit_fields;

/* Behind -NAK */
struct nak_options {
    int64_t delay_ns;
};
extern const struct fields nak_fields;

#endif
