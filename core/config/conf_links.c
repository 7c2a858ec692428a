/* leafnodes{} and gateway{}: this version dials and accepts neither, but what is no address or URL
 * in them is a mistake already. */
#include <stdlib.h>

#include "core/base/url.h"
#include "core/config/take_internal.h"

static void check_url(struct context *c, const struct conf_member *m, const struct conf_value *v,
                      const char *what)
{
    struct url url = {0};
    if (v->type != CONF_STRING || url_parse(v->text, &url) != OK) {
        struct buffer shown = {0};
        url_put_public(&shown, v->type == CONF_STRING ? v->text : BYTES_NONE);
        complain(c, m, "error parsing %s url [\"%.*s\"]", what, BYTES_ARG(buffer_bytes(&shown)));
        buffer_deinit(&shown);
    }
    url_deinit(&url);
}

static void check_remote(struct context *c, const struct conf_member *m,
                         const struct conf_value *remote, const char *what)
{
    for (uint32_t i = 0; remote->type == CONF_MAP && i < remote->count; i++) {
        const struct conf_member *f = &remote->members[i];
        if (bytes_eq_nocase(f->key, BYTES_LIT("url"))) {
            check_url(c, m, &f->value, what);
        } else if (bytes_eq_nocase(f->key, BYTES_LIT("urls"))) {
            for (uint32_t k = 0; f->value.type == CONF_ARRAY && k < f->value.count; k++) {
                check_url(c, m, &f->value.members[k].value, what);
            }
        }
    }
}

static void check_block(struct context *c, const struct conf_member *m, const char *remotes,
                        const char *what)
{
    note_no_effect(c, m);
    for (uint32_t i = 0; m->value.type == CONF_MAP && i < m->value.count; i++) {
        const struct conf_member *f = &m->value.members[i];
        if (bytes_eq_nocase(f->key, BYTES_LIT("listen"))) {
            char *host = NULL;
            int port = 0;
            take_listen(c, f, &host, &port);
            free(host);
        } else if (bytes_eq_nocase(f->key, bytes_of(remotes)) && f->value.type == CONF_ARRAY) {
            for (uint32_t k = 0; k < f->value.count; k++) {
                check_remote(c, f, &f->value.members[k].value, what);
            }
        }
    }
}

void on_leafnodes(struct context *c, const struct conf_member *m)
{
    check_block(c, m, "remotes", "leafnode");
}

void on_gateway(struct context *c, const struct conf_member *m)
{
    check_block(c, m, "gateways", "gateway");
}
