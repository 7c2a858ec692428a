#include "jetstream/state/request_fields.h"

/* What Go has in a struct of its own, which others embed. */
#define PAGED "ApiPagedRequest"

static const struct field page_rows[] = {
    {.name = "offset",
     .kind = FIELD_INT,
     .go_type = "int",
     .embedded = PAGED,
     FIELD_AT(struct page_request, offset)},
    {.name = "subject", .kind = FIELD_TEXT, FIELD_AT(struct page_request, subject)},
    {0}};
const struct fields stream_names_fields = {"JSApiStreamNamesRequest", page_rows, NULL};
const struct fields stream_list_fields = {"JSApiStreamListRequest", page_rows, NULL};

static const struct field consumer_page_rows[] = {{.name = "offset",
                                                   .kind = FIELD_INT,
                                                   .go_type = "int",
                                                   .embedded = PAGED,
                                                   FIELD_AT(struct page_request, offset)},
                                                  {0}};
const struct fields consumer_page_fields = {"JSApiConsumersRequest", consumer_page_rows, NULL};

static const struct field info_rows[] = {
    {.name = "offset",
     .kind = FIELD_INT,
     .go_type = "int",
     .embedded = PAGED,
     FIELD_AT(struct info_request, offset)},
    {.name = "deleted_details", .kind = FIELD_BOOL, FIELD_AT(struct info_request, deleted_details)},
    {.name = "subjects_filter", .kind = FIELD_TEXT, FIELD_AT(struct info_request, subjects_filter)},
    {0}};
const struct fields info_fields = {"JSApiStreamInfoRequest", info_rows, NULL};

static const struct field purge_rows[] = {
    {.name = "seq", .kind = FIELD_UINT, FIELD_AT(struct purge_request, seq)},
    {.name = "filter", .kind = FIELD_TEXT, FIELD_AT(struct purge_request, filter)},
    {.name = "keep", .kind = FIELD_UINT, FIELD_AT(struct purge_request, keep)},
    {0}};
const struct fields purge_fields = {"JSApiStreamPurgeRequest", purge_rows, NULL};

#define G(member) FIELD_AT(struct get_request, member)
static const struct field get_rows[] = {
    {.name = "seq", .kind = FIELD_UINT, G(seq)},
    {.name = "last_by_subj", .kind = FIELD_TEXT, G(last_by_subject)},
    {.name = "next_by_subj", .kind = FIELD_TEXT, G(next_by_subject)},
    {.name = "batch", .kind = FIELD_INT, .go_type = "int", G(batch)},
    {.name = "max_bytes", .kind = FIELD_INT, .go_type = "int", G(max_bytes)},
    {.name = "start_time", .kind = FIELD_TIME, G(start_time)},
    {.name = "multi_last",
     .kind = FIELD_TEXTS,
     G(multi_last),
     FIELD_COUNT(struct get_request, multi_count)},
    {.name = "up_to_seq", .kind = FIELD_UINT, G(up_to_seq)},
    {.name = "up_to_time", .kind = FIELD_TIME, G(up_to_time)},
    {.name = "no_hdr", .kind = FIELD_BOOL, G(no_headers)},
    {0}};
const struct fields get_fields = {"JSApiMsgGetRequest", get_rows, NULL};

static const struct field delete_rows[] = {
    {.name = "seq", .kind = FIELD_UINT, FIELD_AT(struct delete_request, seq)},
    {.name = "no_erase", .kind = FIELD_BOOL, FIELD_AT(struct delete_request, no_erase)},
    {0}};
const struct fields delete_fields = {"JSApiMsgDeleteRequest", delete_rows, NULL};

#define N(member) FIELD_AT(struct next_request, member)
#define GROUP     "PriorityGroup"
static const struct field next_rows[] = {
    {.name = "expires", .kind = FIELD_DURATION, N(expires_ns)},
    {.name = "batch", .kind = FIELD_INT, .go_type = "int", N(batch)},
    {.name = "max_bytes", .kind = FIELD_INT, .go_type = "int", N(max_bytes)},
    {.name = "no_wait", .kind = FIELD_BOOL, N(no_wait)},
    {.name = "idle_heartbeat", .kind = FIELD_DURATION, N(heartbeat_ns)},
    {.name = "group", .kind = FIELD_TEXT, .embedded = GROUP, N(group)},
    {.name = "min_pending", .kind = FIELD_INT, .embedded = GROUP, N(min_pending)},
    {.name = "min_ack_pending", .kind = FIELD_INT, .embedded = GROUP, N(min_ack_pending)},
    {.name = "id", .kind = FIELD_TEXT, .embedded = GROUP, N(id)},
    {.name = "priority", .kind = FIELD_INT, .go_type = "int", .embedded = GROUP, N(priority)},
    {0}};
const struct fields next_fields = {"JSApiConsumerGetNextRequest", next_rows, NULL};

static const struct field admit_rows[] = {
    {.name = "peer", .kind = FIELD_TEXT, FIELD_AT(struct admit_request, peer)}, {0}};
const struct fields admit_fields = {"JSApiMetaServerAdmitRequest", admit_rows, NULL};

static const struct field nak_rows[] = {
    {.name = "delay", .kind = FIELD_DURATION, FIELD_AT(struct nak_options, delay_ns)}, {0}};
const struct fields nak_fields = {"ConsumerNakOptions", nak_rows, NULL};
