/* The configuration, in both syntaxes, and the options behind it. */
#include "core/config/conf.h"
#include "core/config/options.h"

typedef struct conf *(*conf_reader)(const char *name, struct bytes text, struct error *error);

static void read_and_apply(conf_reader parse, struct bytes text)
{
    struct error error;
    struct option_report report = {0};
    struct conf *conf = parse("fuzz", text, &error);
    if (conf != NULL) {
        struct options *o = options_new();
        (void)options_apply_conf(o, conf, &report);
        (void)(options_finish(o, &error) == OK);
        options_free(o);
    }
    conf_free(conf);
    option_report_deinit(&report);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_and_apply(conf_parse, bytes_make(data, size));
    read_and_apply(conf_parse_yaml, bytes_make(data, size));
    return 0;
}
