/* The configuration grammar and the options behind it. */
#include "core/config/conf.h"
#include "core/config/options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error error;
    struct option_report report = {0};
    struct conf *conf = conf_parse("fuzz", bytes_make(data, size), &error);
    if (conf != NULL) {
        struct options *o = options_new();
        (void)options_apply_conf(o, conf, &report);
        (void)(options_finish(o, &error) == OK);
        options_free(o);
    }
    conf_free(conf);
    buffer_deinit(&report.errors);
    buffer_deinit(&report.warnings);
    return 0;
}
