#include <criterion/criterion.h>
#include <stdio.h>

#include "core/base/go_time.h"
#include "core/base/json_scan.h"
#include "jetstream/state/config.h"
#include "jetstream/state/request_fields.h"

/* Seen on nats-server 2.15.2. */
static const struct {
    const char *body, *error;
} refused[] = {
    {"{\"name\":\"S\",\"max_msgs\":\"x\"}",
     "json: cannot unmarshal string into Go struct field StreamConfigRequest.StreamConfig.max_msgs "
     "of type int64"},
    {"{\"name\":\"S\",\"placement\":{\"cluster\":1}}",
     "json: cannot unmarshal number into Go struct field Placement.StreamConfig.placement.cluster "
     "of type string"},
    {"{\"name\":\"S\",\"placement\":\"x\"}",
     "json: cannot unmarshal string into Go struct field "
     "StreamConfigRequest.StreamConfig.placement of type server.Placement"},
    {"{\"name\":\"S\",\"placement\":{\"tags\":[1]}}",
     "json: cannot unmarshal number into Go struct field Placement.StreamConfig.placement.tags of "
     "type string"},
    {"{\"name\":\"S\",\"metadata\":{\"a\":1}}",
     "json: cannot unmarshal number into Go struct field StreamConfigRequest.StreamConfig.metadata "
     "of type string"},
    {"{\"name\":\"S\",\"metadata\":[]}",
     "json: cannot unmarshal array into Go struct field StreamConfigRequest.StreamConfig.metadata "
     "of type map[string]string"},
    {"{\"name\":\"S\",\"subjects\":\"x\"}",
     "json: cannot unmarshal string into Go struct field StreamConfigRequest.StreamConfig.subjects "
     "of type []string"},
    {"{\"name\":\"S\",\"subjects\":[1]}",
     "json: cannot unmarshal number into Go struct field StreamConfigRequest.StreamConfig.subjects "
     "of type string"},
    {"{\"name\":\"S\",\"mirror\":{\"opt_start_seq\":-1}}",
     "json: cannot unmarshal number -1 into Go struct field "
     "StreamSource.StreamConfig.mirror.opt_start_seq of type uint64"},
    {"{\"name\":\"S\",\"sources\":[{\"name\":3}]}",
     "json: cannot unmarshal number into Go struct field StreamSource.StreamConfig.sources.name of "
     "type string"},
    {"{\"name\":\"S\",\"sources\":[3]}",
     "json: cannot unmarshal number into Go struct field StreamConfigRequest.StreamConfig.sources "
     "of type server.StreamSource"},
    {"{\"name\":\"S\",\"sources\":{}}",
     "json: cannot unmarshal object into Go struct field StreamConfigRequest.StreamConfig.sources "
     "of type []*server.StreamSource"},
    {"{\"name\":\"S\",\"sources\":[{\"external\":{\"api\":3}}]}",
     "json: cannot unmarshal number into Go struct field "
     "ExternalStream.StreamConfig.sources.external.api of type string"},
    {"{\"name\":\"S\",\"mirror\":{\"opt_start_time\":3}}",
     "Time.UnmarshalJSON: input is not a JSON string"},
    {"{\"name\":\"S\",\"mirror\":{\"opt_start_time\":\"x\"}}",
     "parsing time \"x\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"x\" as \"2006\""},
    {"{\"name\":\"S\",\"max_age\":\"1s\"}",
     "json: cannot unmarshal string into Go struct field StreamConfigRequest.StreamConfig.max_age "
     "of type time.Duration"},
    {"{\"name\":\"S\",\"max_age\":1.5}",
     "json: cannot unmarshal number 1.5 into Go struct field "
     "StreamConfigRequest.StreamConfig.max_age of type time.Duration"},
    {"{\"name\":\"S\",\"num_replicas\":3.0}",
     "json: cannot unmarshal number 3.0 into Go struct field "
     "StreamConfigRequest.StreamConfig.num_replicas of type int"},
    {"{\"name\":\"S\",\"max_msg_size\":3000000000}",
     "json: cannot unmarshal number 3000000000 into Go struct field "
     "StreamConfigRequest.StreamConfig.max_msg_size of type int32"},
    {"{\"name\":\"S\",\"first_seq\":-1}",
     "json: cannot unmarshal number -1 into Go struct field "
     "StreamConfigRequest.StreamConfig.first_seq of type uint64"},
    {"{\"name\":\"S\",\"max_msgs\":9223372036854775808}",
     "json: cannot unmarshal number 9223372036854775808 into Go struct field "
     "StreamConfigRequest.StreamConfig.max_msgs of type int64"},
    {"{\"name\":\"S\",\"no_ack\":1}", "json: cannot unmarshal number into Go struct field "
                                      "StreamConfigRequest.StreamConfig.no_ack of type bool"},
    {"{\"name\":\"S\",\"consumer_limits\":[]}",
     "json: cannot unmarshal array into Go struct field "
     "StreamConfigRequest.StreamConfig.consumer_limits of type server.StreamConsumerLimits"},
    {"{\"name\":\"S\",\"consumer_limits\":{\"max_ack_pending\":\"x\"}}",
     "json: cannot unmarshal string into Go struct field "
     "StreamConsumerLimits.StreamConfig.consumer_limits.max_ack_pending of type int"},
    {"{\"name\":\"S\",\"consumer_limits\":null,\"no_ack\":\"x\"}",
     "json: cannot unmarshal string into Go struct field StreamConfigRequest.StreamConfig.no_ack "
     "of type bool"},
    {"{\"name\":\"S\",\"pedantic\":3}", "json: cannot unmarshal number into Go struct field "
                                        "StreamConfigRequest.pedantic of type bool"},
    {"{\"name\":3}", "json: cannot unmarshal number into Go struct field "
                     "StreamConfigRequest.StreamConfig.name of type string"},
    {"[]", "json: cannot unmarshal array into Go value of type server.StreamConfigRequest"},
    {"3", "json: cannot unmarshal number into Go value of type server.StreamConfigRequest"},
    {"\"x\"", "json: cannot unmarshal string into Go value of type server.StreamConfigRequest"},
    {"{", "unexpected EOF"},
    {"{\"name\":\"S\"", "unexpected EOF"},
    {"{\"name\":\"S\"}x", "invalid character 'x' looking for beginning of value at offset 13"},
    {"{\"name\":\"S\"} {\"max_msgs\":\"x\"}",
     "json: cannot unmarshal string into Go struct field StreamConfigRequest.StreamConfig.max_msgs "
     "of type int64"},
    {"{\"name\":\"S\",}",
     "invalid character '}' looking for beginning of object key string at offset 13"},
    {"{name:\"S\"}",
     "invalid character 'n' looking for beginning of object key string at offset 2"},
    {"{\"name\":\"S\" \"b\":1}", "invalid character '\"' after object key:value pair at offset 13"},
    {"{\"name\":01}", "invalid character '1' after object key:value pair at offset 10"},
    {"{\"name\":-}", "invalid character '}' in numeric literal at offset 10"},
    {"{\"name\":1.}", "invalid character '}' after decimal point in numeric literal at offset 11"},
    {"{\"name\":1e}", "invalid character '}' in exponent of numeric literal at offset 11"},
    {"{\"name\":tru}", "invalid character '}' in literal true (expecting 'e') at offset 12"},
    {"{\"name\":\"\\x\"}", "invalid character 'x' in string escape code at offset 11"},
    {"{\"name\":\"\\u12g4\"}",
     "invalid character 'g' in \\u hexadecimal character escape at offset 14"},
    {"{'name':1}",
     "invalid character '\\'' looking for beginning of object key string at offset 2"},
    {"{\"name\":\303\251}",
     "invalid character '\303\203' looking for beginning of value at offset 9"},
    {"{\"retention\":null}", "can not unmarshal \"null\""},
    {"{\"retention\":[\"a\", 1]}", "can not unmarshal \"[\\\"a\\\", 1]\""},
    {"{\"max_msgs\":\"x\",\"retention\":\"y\"}", "can not unmarshal \"\\\"y\\\"\""},
    {"{\"retention\":\"Workqueue\"}", "can not unmarshal \"\\\"Workqueue\\\"\""},
    {"{\"discard\":\"NEW\",\"name\":3}", "json: cannot unmarshal number into Go struct field "
                                         "StreamConfigRequest.StreamConfig.name of type string"},
    {"{\"unknown\":1,\"max_msgs\":\"x\"}", "json: unknown field \"unknown\""},
    {"{\"max_msgs\":\"x\",\"unknown\":1}",
     "json: cannot unmarshal string into Go struct field StreamConfigRequest.StreamConfig.max_msgs "
     "of type int64"},
    {"{\"placement\":{\"x\":1}}", "json: unknown field \"x\""},
    {"{\"republish\":{\"src\":1}}", "json: cannot unmarshal number into Go struct field "
                                    "RePublish.StreamConfig.republish.src of type string"},
    {"{\"subject_transform\":{\"src\":1}}",
     "json: cannot unmarshal number into Go struct field "
     "SubjectTransformConfig.StreamConfig.subject_transform.src of type string"},
    {"{\"persist_mode\":3}", "can not unmarshal \"3\""},
    {"{\"compression\":3}", "json: cannot unmarshal number into Go struct field "
                            "StreamConfigRequest.StreamConfig.compression of type string"},
    {"{\"storage\":3}", "can not unmarshal \"3\""},
    {"{\"NAME\":3}", "json: cannot unmarshal number into Go struct field "
                     "StreamConfigRequest.StreamConfig.name of type string"},
    {"{\"\305\277ubjects\":3}", "json: cannot unmarshal number into Go struct field "
                                "StreamConfigRequest.StreamConfig.subjects of type []string"},
    {"{\"max_consumers\":1e3}", "json: cannot unmarshal number 1e3 into Go struct field "
                                "StreamConfigRequest.StreamConfig.max_consumers of type int"},
    {"{\"name\":\"S\",\"max_consumers\":99999999999999999999}",
     "json: cannot unmarshal number 99999999999999999999 into Go struct field "
     "StreamConfigRequest.StreamConfig.max_consumers of type int"},
    {"{\"name\":true}", "json: cannot unmarshal bool into Go struct field "
                        "StreamConfigRequest.StreamConfig.name of type string"},
    {"{\"name\":{}}", "json: cannot unmarshal object into Go struct field "
                      "StreamConfigRequest.StreamConfig.name of type string"},
    {"{\"name\":[]}", "json: cannot unmarshal array into Go struct field "
                      "StreamConfigRequest.StreamConfig.name of type string"},
    {"{\"sources\":[{\"subject_transforms\":[{\"src\":1}]}]}",
     "json: cannot unmarshal number into Go struct field "
     "SubjectTransformConfig.StreamConfig.sources.subject_transforms.src of type string"},
    {"{\"sources\":[{\"subject_transforms\":[1]}]}",
     "json: cannot unmarshal number into Go struct field "
     "StreamSource.StreamConfig.sources.subject_transforms of type server.SubjectTransformConfig"},
    {"{\"mirror\":{\"consumer\":{\"name\":1}}}",
     "json: cannot unmarshal number into Go struct field "
     "StreamConsumerSource.StreamConfig.mirror.consumer.name of type string"},
    {"{\"mirror\":[]}", "json: cannot unmarshal array into Go struct field "
                        "StreamConfigRequest.StreamConfig.mirror of type server.StreamSource"},
    {"{\"un\\u00e9\\\"k\":1}", "json: unknown field \"un\303\251\\\"k\""},
    {"  {\"name\":\"S\"} ]", "invalid character ']' looking for beginning of value at offset 16"},
    {"{\"a\":[1,2,]}", "invalid character ']' looking for beginning of value at offset 11"},
    {"{\"a\":[1 2]}", "invalid character '2' after array element at offset 9"},
    {"{\"a\":1,}", "invalid character '}' looking for beginning of object key string at offset 8"},
    {"{\"a\"}", "invalid character '}' after object key at offset 5"},
    {"{,}", "invalid character ',' looking for beginning of object key string at offset 2"},
    {"nul", "unexpected EOF"},
    {"truex", "json: cannot unmarshal bool into Go value of type server.StreamConfigRequest"},
    {"{\"a\":\"\\ud800\"}", "json: unknown field \"a\""},
    {"{\"max_bytes\":{\"a\":1}}", "json: cannot unmarshal object into Go struct field "
                                  "StreamConfigRequest.StreamConfig.max_bytes of type int64"},
    {"{\"subjects\":[null,1]}", "json: cannot unmarshal number into Go struct field "
                                "StreamConfigRequest.StreamConfig.subjects of type string"},
    {"{\"subjects\":[[\"a\"]]}", "json: cannot unmarshal array into Go struct field "
                                 "StreamConfigRequest.StreamConfig.subjects of type string"},
    {"\357\273\277{}", "invalid character '\303\257' looking for beginning of value at offset 1"},
    {"{\"max_age\":true}", "json: cannot unmarshal bool into Go struct field "
                           "StreamConfigRequest.StreamConfig.max_age of type time.Duration"},
    {"{\"max_age\":\"5\"}", "json: cannot unmarshal string into Go struct field "
                            "StreamConfigRequest.StreamConfig.max_age of type time.Duration"},
    {"{\"mirror\":{\"name\":\"x\",\"opt_start_time\":\"2024-01-01\"}}",
     "parsing time \"2024-01-01\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"\" as \"T\""},
    {"{\"mirror\":{\"opt_start_time\":\"2024-13-01T00:00:00Z\"}}",
     "parsing time \"2024-13-01T00:00:00Z\": month out of range"},
    {"{\"mirror\":{\"opt_start_time\":\"2024-02-30T00:00:00Z\"}}",
     "parsing time \"2024-02-30T00:00:00Z\": day out of range"},
    {"{\"mirror\":{\"opt_start_time\":\"2024-02-20T25:00:00Z\"}}",
     "parsing time \"2024-02-20T25:00:00Z\": hour out of range"},
    {"{\"mirror\":{\"opt_start_time\":\"2024-02-20T05:00:00\"}}",
     "parsing time \"2024-02-20T05:00:00\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"\" as "
     "\"Z07:00\""},
    {"{\"mirror\":{\"opt_start_time\":\"2024-02-20T05:00:00+25:00\"}}",
     "parsing time \"2024-02-20T05:00:00+25:00\": time zone offset hour out of range"},
    {"{\"mirror\":{\"opt_start_time\":\"2024-02-20T05:00:00Zx\"}}",
     "parsing time \"2024-02-20T05:00:00Zx\": extra text: \"x\""},
    {"{\"mirror\":{\"opt_start_time\":\"\"}}",
     "parsing time \"\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"\" as \"2006\""},
    {"{\"mirror\":{\"opt_start_time\":true}}", "Time.UnmarshalJSON: input is not a JSON string"}};

Test(fields, what_is_wrong_is_told_as_nats_server_tells_it)
{
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct stream_config c;
        struct js_error error = {0};
        cr_expect_not(stream_config_read(bytes_of(refused[i].body), BYTES_NONE, false, &c, &error),
                      "%s", refused[i].body);
        cr_expect_eq(error.err, JS_INVALID_JSON, "%s: %s", refused[i].body, error.text);
        cr_expect_eq(strncmp(error.text, "invalid JSON: ", 14), 0);
        cr_expect_str_eq(error.text + 14, refused[i].error, "%s", refused[i].body);
    }
}

Test(fields, members_are_read_whatever_their_case_and_the_last_one_counts)
{
    struct stream_config c;
    struct js_error error;
    const char *body = "{\"NAME\":\"x\",\"name\":\"S\",\"\305\277ubjects\":[\"a\",\"b.\\u002a\"],"
                       "\"Max_Msgs\":5,\"max_msgs\":null,\"discard\":\"NEW\",\"placement\":{},"
                       "\"metadata\":{\"k\":\"1\",\"_nats.level\":\"9\",\"n\":null}} "
                       "{\"no_ack\":true}";
    cr_assert(stream_config_read(bytes_of(body), BYTES_LIT("S"), false, &c, &error), "%s",
              error.text);
    cr_expect_str_eq(c.name, "S");
    cr_expect_eq(c.subject_count, 2);
    cr_expect_str_eq(c.subjects[1], "b.*");
    cr_expect_eq(c.max_msgs, 5);
    cr_expect_eq(c.discard, DISCARD_NEW);
    cr_expect(c.no_ack);
    cr_expect_eq(json_object_size(c.metadata), 2);
    stream_config_deinit(&c);
}

/* What 0.3 has written. */
Test(fields, stored_configurations_of_older_versions_are_understood_and_keep_their_form)
{
    static const char stored[] =
        "{\"name\":\"S\",\"description\":\"d\",\"subjects\":[\"s.>\"],\"max_consumers\":-1,"
        "\"max_msgs\":-1,\"max_bytes\":1000,\"max_age\":0,\"max_msg_size\":5000000000,"
        "\"discard\":\"new\",\"storage\":\"memory\",\"num_replicas\":3,\"no_ack\":true,"
        "\"duplicate_window\":120000000000,\"placement\":{\"cluster\":\"C1\"},"
        "\"deny_delete\":true,\"deny_purge\":true,\"metadata\":{\"a\":\"b\"}}";
    static const char consumer[] =
        "{\"durable_name\":\"C\",\"name\":\"C\",\"deliver_policy\":\"by_start_time\","
        "\"opt_start_time\":\"2026-01-02T03:04:05.5Z\",\"ack_policy\":\"explicit\","
        "\"ack_wait\":1000000,\"max_deliver\":3,\"backoff\":[1000000,2000000],"
        "\"filter_subjects\":[\"s.a\"],\"replay_policy\":\"instant\",\"max_waiting\":512,"
        "\"max_ack_pending\":1000,\"num_replicas\":0,\"metadata\":{}}";
    json_error_t reason;
    struct js_error error;
    struct stream_config s;
    struct consumer_config c;
    json_t *o = json_parse(bytes_of(stored), &reason);
    cr_assert(stream_config_parse(o, true, &s, &error), "%s", error.text);
    json_t *again = stream_config_json(&s, false);
    cr_expect(json_equal(o, again), "%s", json_dumps(again, 0));
    json_decref(o);
    json_decref(again);
    o = json_parse(bytes_of(consumer), &reason);
    cr_assert(consumer_config_parse(o, &c, &error), "%s", error.text);
    again = consumer_config_json(&c, false);
    json_object_del(o, "replay_policy"); /* always the same: not written any more */
    json_object_del(o, "num_replicas");
    cr_expect(json_equal(o, again), "%s", json_dumps(again, 0));
    json_decref(o);
    json_decref(again);
    stream_config_deinit(&s);
    consumer_config_deinit(&c);
}

Test(fields, what_may_not_change_is_refused_with_the_text_of_its_row)
{
    static const struct {
        const char *old, *new, *error; /* NULL: it may */
    } cases[] = {
        {"", ",\"max_msgs\":3", NULL},
        {"", ",\"deny_delete\":true", NULL},
        {",\"deny_delete\":true", "",
         "stream configuration update can not cancel deny message deletes"},
        {",\"deny_purge\":true", "", "stream configuration update can not cancel deny purge"},
        {"", ",\"storage\":\"memory\"", "stream configuration update can not change storage type"},
        {"", ",\"num_replicas\":3",
         "changing num_replicas of an existing stream is not supported in this version yet"},
        {"", ",\"placement\":{\"cluster\":\"x\"}", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct stream_config c[2];
        struct js_error error = {0};
        for (int k = 0; k < 2; k++) {
            char body[256];
            (void)snprintf(body, sizeof body, "{\"name\":\"S\"%s}",
                           k == 0 ? cases[i].old : cases[i].new);
            cr_assert(stream_config_read(bytes_of(body), BYTES_NONE, true, &c[k], &error), "%s",
                      error.text);
        }
        bool may = stream_config_check_update(&c[0], &c[1], &error);
        cr_expect_eq(may, cases[i].error == NULL, "%zu", i);
        cr_expect(may || strcmp(error.text, cases[i].error) == 0, "%s", error.text);
        cr_expect_eq(stream_config_check_place(&c[0], &c[1], &error),
                     strstr(cases[i].new, "placement") == NULL);
        cr_expect_not(stream_config_equal(&c[0], &c[1]));
        cr_expect(stream_config_equal(&c[0], &c[0]));
        stream_config_deinit(&c[0]);
        stream_config_deinit(&c[1]);
    }
}

Test(fields, names_in_subject_and_body_of_a_consumer_agree)
{
    static const struct {
        const char *consumer, *filter;
        bool durable_form;
        const char *body;
        enum js_err err;
    } cases[] = {
        {"c", NULL, false, "{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"c\"}}", JS_OK},
        {"c", NULL, false, "{\"config\":{\"durable_name\":\"c\"}}", JS_NAME_MISMATCH},
        {"c", NULL, false, "", JS_NAME_MISMATCH},
        {"c", NULL, false, "{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"d\"}}",
         JS_CONSUMER_DURABLE_MISMATCH},
        {"c", NULL, false,
         "{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"d\",\"name\":\"c\"}}",
         JS_CONSUMER_DURABLE_MISMATCH},
        {"c", NULL, false,
         "{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"c\",\"name\":\"d\"}}", JS_OK},
        {"c", NULL, true, "{\"stream_name\":\"S\",\"config\":{\"name\":\"c\"}}",
         JS_CONSUMER_DURABLE_MISSING},
        {NULL, NULL, false, "{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"c\"}}",
         JS_EPHEMERAL_WITH_DURABLE},
        {"a/b", NULL, false, "{\"stream_name\":\"S\"}", JS_CONSUMER_SEPARATORS},
        {"c", "s.a", false, "{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"c\"}}",
         JS_FILTER_MISMATCH},
        {"c", "s.a", false,
         "{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"c\",\"filter_subjects\":[\"s.a\"]}"
         "}",
         JS_FILTERS_IN_SUBJECT},
        {"c", "s.a", false,
         "{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"c\",\"filter_subject\":\"s.a\"}}",
         JS_OK},
        {"c", NULL, false,
         "{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"c\",\"rate_limit_bps\":1}}",
         JS_PULL_RATE_LIMIT},
        {"c", NULL, false,
         "{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"c\",\"backoff\":[-1]}}",
         JS_BACKOFF_NEGATIVE}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct consumer_subject subject = {
            "S", cases[i].consumer, cases[i].filter, cases[i].durable_form, false, 1};
        struct consumer_config c;
        enum consumer_action action;
        struct js_error error = {0};
        bool ok = consumer_config_read(bytes_of(cases[i].body), &subject, &c, &action, &error);
        cr_expect_eq(ok, cases[i].err == JS_OK, "%zu: %s", i, error.text);
        cr_expect_eq(error.err, cases[i].err, "%zu: %s", i, error.text);
        cr_expect(!ok || strcmp(c.name, "c") == 0);
        consumer_config_deinit(&c);
    }
}

/* Seen on nats-server 2.15.2, but for starts behind 2^63 and fewer replicas than the stream's. */
Test(fields, consumers_are_told_what_is_wrong_with_their_numbers)
{
    static const struct {
        const char *config;
        bool pedantic, clustered;
        int replicas;
        enum js_err err;
        const char *text;
    } cases[] = {
        {"\"max_deliver\":-2", true, false, 1, JS_PEDANTIC,
         "pedantic mode: max_deliver must be set to -1"},
        {"\"max_deliver\":-2", false, false, 1, JS_OK, NULL},
        {"\"max_deliver\":0", true, false, 1, JS_OK, NULL},
        {"\"max_waiting\":-1,\"max_deliver\":-1", true, false, 1, JS_PEDANTIC,
         "pedantic mode: max_waiting must not be negative"},
        {"\"max_ack_pending\":-2", true, false, 1, JS_PEDANTIC,
         "pedantic mode: max_ack_pending must be set to -1"},
        {"\"max_batch\":-1", true, false, 1, JS_PEDANTIC,
         "pedantic mode: max_batch must not be negative"},
        {"\"max_expires\":-1", true, false, 1, JS_PEDANTIC,
         "pedantic mode: max_expires must not be negative"},
        {"\"max_bytes\":-1", true, false, 1, JS_PEDANTIC,
         "pedantic mode: max_bytes must not be negative"},
        {"\"idle_heartbeat\":-1", true, false, 1, JS_PEDANTIC,
         "pedantic mode: idle_heartbeat must not be negative"},
        {"\"backoff\":[1]", true, false, 1, JS_PEDANTIC,
         "pedantic mode: first backoff value has to equal batch AckWait"},
        {"\"backoff\":[30000000000],\"ack_policy\":\"explicit\"", true, false, 1, JS_OK, NULL},
        {"\"backoff\":[7],\"ack_wait\":7", true, false, 1, JS_OK, NULL},
        {"\"ack_wait\":-1", true, false, 1, JS_ACK_WAIT_NEGATIVE, NULL},
        {"\"inactive_threshold\":-1,\"priority_timeout\":-1", false, false, 1, JS_OK, NULL},
        {"\"num_replicas\":1", false, false, 1, JS_OK, NULL},
        {"\"num_replicas\":2", false, false, 1, JS_REPLICAS_UNCLUSTERED, NULL},
        {"\"num_replicas\":2", false, true, 1, JS_CONSUMER_REPLICAS, NULL},
        {"\"num_replicas\":-1,\"ack_wait\":-1", false, false, 1, JS_REPLICAS_NEGATIVE, NULL},
        {"\"num_replicas\":3", false, true, 3, JS_OK, NULL},
        {"\"num_replicas\":1", false, true, 3, JS_STREAM_CONFIG,
         "num_replicas below the stream's is not supported in this version yet"},
        {"\"num_replicas\":2,\"headers_only\":true", false, false, 0, JS_REPLICAS_UNCLUSTERED,
         NULL},
        {"\"headers_only\":true,\"ack_wait\":-1", false, false, 0, JS_STREAM_NOT_FOUND, NULL},
        {"\"deliver_policy\":\"by_start_sequence\",\"opt_start_seq\":9223372036854775807", false,
         false, 1, JS_OK, NULL},
        {"\"deliver_policy\":\"by_start_sequence\",\"opt_start_seq\":9223372036854775808", false,
         false, 1, JS_DELIVER_POLICY,
         "consumer delivery policy is deliver by start sequence, but optional start sequence is "
         "above 9223372036854775807"},
        {"\"opt_start_time\":\"0001-01-01T00:00:00Z\"", false, false, 1, JS_DELIVER_POLICY,
         "consumer delivery policy is deliver all, but optional start time is also set"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct consumer_subject subject = {
            "S", "c", NULL, false, cases[i].clustered, cases[i].replicas};
        char body[300];
        struct consumer_config c;
        enum consumer_action action;
        struct js_error error = {0};
        (void)snprintf(body, sizeof body,
                       "{\"stream_name\":\"S\",\"pedantic\":%s,\"config\":{%s,"
                       "\"durable_name\":\"c\"}}",
                       cases[i].pedantic ? "true" : "false", cases[i].config);
        (void)consumer_config_read(bytes_of(body), &subject, &c, &action, &error);
        cr_expect_eq(error.err, cases[i].err, "%s: %d %s", body, error.err, error.text);
        cr_expect(cases[i].text == NULL || strcmp(error.text, cases[i].text) == 0, "%s: %s", body,
                  error.text);
        consumer_config_deinit(&c);
    }
}

/* Seen on nats-server 2.15.2, but for what is not supported. */
Test(fields, the_first_thing_that_is_wrong_with_a_stream_is_told)
{
    static const char pedantic[] = "{\"name\":\"S\",\"pedantic\":true";
    static const struct {
        bool update, exists;
        const char *begin, *body;
        enum js_err err;
    } cases[] = {
        {false, false, "", "{\"name\":\"X\",\"retention\":\"workqueue\"}", JS_NAME_MISMATCH},
        {false, false, "", "{\"name\":\"X\",\"max_age\":-1}", JS_NAME_MISMATCH},
        {false, false, "", "{\"name\":\"S\",\"max_age\":-1,\"sealed\":true}", JS_STREAM_CONFIG},
        {false, false, "", "{\"name\":\"S\",\"num_replicas\":3}", JS_REPLICAS_UNCLUSTERED},
        {true, true, "", "{\"name\":\"X\",\"num_replicas\":-1}", JS_REPLICAS_NEGATIVE},
        {true, true, "", "{\"name\":\"X\",\"num_replicas\":3}", JS_NAME_MISMATCH},
        {true, false, "", "{\"name\":\"S\",\"num_replicas\":3}", JS_STREAM_NOT_FOUND},
        {true, false, "", "{\"name\":\"S\",\"retention\":\"workqueue\"}", JS_STREAM_NOT_FOUND},
        {true, true, "", "{\"name\":\"S\",\"num_replicas\":3}", JS_REPLICAS_UNCLUSTERED},
        {true, true, "", "{\"name\":\"S\",\"retention\":\"workqueue\"}", JS_STREAM_CONFIG},
        {true, true, "", "{\"name\":\"S\"}", JS_OK},
        {false, false, pedantic, "}", JS_OK},
        {false, false, pedantic, ",\"max_msgs\":-1,\"max_bytes\":0}", JS_OK},
        {false, false, pedantic, ",\"max_msgs\":-2}", JS_PEDANTIC},
        {false, false, pedantic, ",\"max_bytes\":-2}", JS_PEDANTIC},
        {false, false, pedantic, ",\"max_msg_size\":-2}", JS_PEDANTIC},
        {false, false, pedantic, ",\"max_consumers\":-2}", JS_PEDANTIC},
        {false, false, pedantic, ",\"max_age\":1000000000}", JS_PEDANTIC},
        {false, false, pedantic, ",\"max_age\":1000000000,\"duplicate_window\":1000000000}",
         JS_OK}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct stream_config c;
        struct js_error error = {0};
        char body[200];
        (void)snprintf(body, sizeof body, "%s%s", cases[i].begin, cases[i].body);
        struct bytes text = bytes_of(body), name = BYTES_LIT("S");
        bool ok = cases[i].update
                      ? stream_config_read_update(text, name, cases[i].exists, false, &c, &error)
                      : stream_config_read(text, name, false, &c, &error);
        cr_expect_eq(error.err, cases[i].err, "%s: %d %s", body, error.err, error.text);
        cr_expect_eq(ok, error.err == JS_OK);
        stream_config_deinit(&c);
    }
}

/* Seen on nats-server 2.15.2. */
Test(fields, the_first_wrong_subject_of_a_stream_is_told)
{
    static const struct {
        const char *subjects, *error;
    } cases[] = {{"\"a\",\"b\",\"a\"", "subject \"a\" overlaps with \"a\""},
                 {"\"a.*\",\"b\",\"a.b\",\"a.>\"", "subject \"a.*\" overlaps with \"a.b\""},
                 {"\"a\",\"b.c\",\"b.*\",\"a\"", "subject \"a\" overlaps with \"a\""},
                 {"\"a..b\",\"a\",\"a\"", "invalid subject"},
                 {"\"a\",\"a..b\",\"a\"", "subject \"a\" overlaps with \"a\""},
                 {"\"b\",\">\"", "subject \"b\" overlaps with \">\""},
                 {"\">\",\"b\"", "capturing all subjects requires no-ack to be true"},
                 {"\"$JS.a\",\"$JS.a\"",
                  "subjects that overlap with jetstream api require no-ack to be true"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct stream_config c;
        struct js_error error = {0};
        char body[200];
        (void)snprintf(body, sizeof body, "{\"name\":\"S\",\"subjects\":[%s]}", cases[i].subjects);
        cr_expect_not(stream_config_read(bytes_of(body), BYTES_LIT("S"), false, &c, &error));
        cr_expect_eq(error.err, JS_STREAM_CONFIG);
        cr_expect_str_eq(error.text, cases[i].error, "%s: %s", body, error.text);
    }
}

/* 0.3 takes no num_replicas but 0, and passes over keys of the server's. */
Test(fields, replicas_of_a_consumer_are_stored_where_older_versions_pass_over_them)
{
    const struct consumer_subject subject = {"S", "c", NULL, false, true, 3};
    struct consumer_config c, again;
    enum consumer_action action;
    struct js_error error = {0};
    cr_assert(consumer_config_read(
        BYTES_LIT("{\"stream_name\":\"S\",\"config\":{\"durable_name\":\"c\",\"num_replicas\":3,"
                  "\"metadata\":{\"_nats.num_replicas\":\"2\"}}}"),
        &subject, &c, &action, &error));
    json_t *stored = consumer_config_json(&c, false);
    json_t *metadata = json_object_get(stored, "metadata");
    cr_expect_null(json_object_get(stored, "num_replicas"));
    cr_expect_str_eq(json_text(metadata, "_nats.num_replicas"), "3");
    cr_assert(consumer_config_parse(stored, &again, &error), "%s", error.text);
    cr_expect(consumer_config_equal(&c, &again));
    json_t *shown = consumer_config_json(&again, true);
    cr_expect_eq(json_int(shown, "num_replicas"), 3);
    cr_expect_null(json_object_get(json_object_get(shown, "metadata"), "_nats.num_replicas"));
    json_decref(stored);
    json_decref(shown);
    consumer_config_deinit(&c);
    consumer_config_deinit(&again);
}

Test(fields, text_with_a_nul_byte_is_refused_and_never_cut)
{
    struct stream_config c;
    struct js_error error;
    cr_expect_not(stream_config_read(BYTES_LIT("{\"name\":\"a\\u0000b\"}"), BYTES_LIT("a"), false,
                                     &c, &error));
    cr_expect_eq(error.err, JS_INVALID_JSON);
    cr_expect_not(stream_config_read(BYTES_LIT("{\"name\":\"a\",\"metadata\":{\"x\\u0000\":\"\"}}"),
                                     BYTES_LIT("a"), false, &c, &error));
}

Test(fields, deep_nesting_costs_no_stack)
{
    struct buffer text = {0};
    struct info_request asked = {0};
    struct js_error error;
    for (int depth = 9999; depth <= 10000; depth++) { /* and the object around it */
        buffer_clear(&text);
        buffer_append_text(&text, "{\"offset\":");
        for (int i = 0; i < 2 * depth; i++) {
            buffer_append_char(&text, i < depth ? '[' : ']');
        }
        buffer_append_char(&text, '}');
        cr_expect_not(
            fields_read(&info_fields, FIELDS_REQUEST, buffer_bytes(&text), &asked, &error));
        cr_expect_not_null(
            strstr(error.text, depth == 9999 ? "cannot unmarshal array" : "exceeded max depth"),
            "%s", error.text);
    }
    buffer_deinit(&text);
}

Test(fields, every_cut_of_a_request_is_refused)
{
    static const char whole[] =
        " {\"name\":\"S\\u0041\\n\",\"max_msgs\":-10,\"no_ack\":true,"
        "\"subjects\":[\"a\",null],\"metadata\":{\"a\":\"b\"},\"max_age\":null}";
    for (size_t len = 2; len < sizeof whole - 1; len++) {
        struct stream_config c;
        struct js_error error = {0};
        char *cut = malloc(len); /* so that a sanitizer sees what is read behind it */
        memcpy(cut, whole, len);
        cr_expect_not(stream_config_read(bytes_make(cut, len), BYTES_NONE, false, &c, &error));
        cr_expect_str_eq(error.text, "invalid JSON: unexpected EOF", "%zu: %s", len, error.text);
        free(cut);
    }
}

Test(go_time, times_are_read_as_go_reads_them)
{
    static const struct {
        const char *text;
        int64_t ns;
        const char *printed, *stored; /* NULL: as it is, as it is printed */
    } cases[] = {
        {"1970-01-01T00:00:01Z", 1000000000, NULL, NULL},
        {"1970-01-01T00:00:00Z", 0, NULL, "1970-01-01T00:00:00.000000001Z"},
        {"1970-01-01T01:00:00+01:00", 0, NULL, "1970-01-01T01:00:00.000000001+01:00"},
        {"1970-01-01T00:00:00+01:00", -INT64_C(3600000000000), NULL, NULL},
        {"0001-01-01T00:00:00Z", -TIME_MAX_NS, NULL, "1823-11-12T00:06:21.572612097Z"},
        {"0000-12-31T23:00:00Z", -TIME_MAX_NS, "0001-01-01T00:00:00Z",
         "1823-11-12T00:06:21.572612097Z"},
        {"2024-02-29T23:59:59.5+01:30", INT64_C(1709245799500000000), NULL, NULL},
        {"2024-02-29T23:59:59.123456789-11:45", INT64_C(1709293499123456789), NULL, NULL},
        {"2024-02-29T23:59:59+00:00", INT64_C(1709251199000000000), "2024-02-29T23:59:59Z", NULL},
        {"2024-02-29T00:00:00+24:60", INT64_C(1709074800000000000), "2024-02-27T23:00:00Z", NULL},
        {"2024-02-29T1:00:00,25Z", INT64_C(1709168400250000000), "2024-02-29T01:00:00.25Z", NULL},
        {"1969-12-31T23:59:59Z", -1000000000, NULL, NULL},
        {"9999-12-31T23:59:59Z", TIME_MAX_NS, NULL, "2116-02-20T23:53:38.427387903Z"},
        {"0001-01-01T00:00:01Z", -TIME_MAX_NS, "0001-01-01T00:00:00Z",
         "1823-11-12T00:06:21.572612097Z"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *text = cases[i].text;
        const char *printed = cases[i].printed == NULL ? text : cases[i].printed;
        const char *stored = cases[i].stored == NULL ? printed : cases[i].stored;
        struct go_time time, again;
        char out[GO_TIME_MAX];
        struct buffer error = {0};
        cr_assert(go_time_parse(bytes_of(text), &time, &error), "%s", text);
        cr_expect(time.set);
        cr_expect_eq(time.ns, cases[i].ns, "%s: %lld", text, (long long)time.ns);
        go_time_print(time, out);
        cr_expect_str_eq(out, printed);
        go_time_print_stored(time, out);
        cr_expect_str_eq(out, stored);
        cr_assert(go_time_parse(bytes_of(out), &again, &error), "%s", out);
        go_time_from_stored(&again);
        go_time_print(again, out);
        cr_expect_str_eq(out, printed, "%s, stored and read again: %s", text, out);
        cr_expect_eq(again.ns, time.ns);
        buffer_deinit(&error);
    }
}
