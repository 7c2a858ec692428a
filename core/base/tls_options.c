#include "core/base/tls_options.h"

#include <stdlib.h>

#include "core/base/clock.h"

struct tls_options tls_options_default(void)
{
    return (struct tls_options){.min_version = 12, .timeout_ns = 2 * NS_PER_SEC};
}

void tls_options_deinit(struct tls_options *o)
{
    free(o->place);
    free(o->cert_file);
    free(o->key_file);
    free(o->ca_file);
    text_list_clear(&o->more_certs);
    text_list_clear(&o->more_keys);
    text_list_clear(&o->cipher_suites);
    text_list_clear(&o->curve_preferences);
    text_list_clear(&o->pinned_certs);
    *o = (struct tls_options){0};
}
