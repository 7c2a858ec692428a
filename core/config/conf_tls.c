/* tls{} blocks, of the client port and of others. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/config/take_internal.h"

#define AUTO_DELAY_NS (50 * NS_PER_MS) /* handshake_first: auto */

static void take_handshake_first(struct context *c, const struct conf_member *m,
                                 struct tls_options *t)
{
    t->handshake_first_delay_ns = 0;
    if (m->value.type == CONF_BOOL) {
        t->handshake_first = m->value.integer != 0;
    } else if (expect_type(c, m, CONF_STRING)) {
        struct bytes text = m->value.text;
        t->handshake_first =
            !bytes_eq_nocase(text, BYTES_LIT("false")) && !bytes_eq_nocase(text, BYTES_LIT("off"));
        if (bytes_eq_nocase(text, BYTES_LIT("auto")) ||
            bytes_eq_nocase(text, BYTES_LIT("auto_fallback"))) {
            t->handshake_first_delay_ns = AUTO_DELAY_NS;
        } else if (t->handshake_first && !bytes_eq_nocase(text, BYTES_LIT("true")) &&
                   !bytes_eq_nocase(text, BYTES_LIT("on")) &&
                   !clock_parse_duration(text, &t->handshake_first_delay_ns)) {
            complain(c, m, "field %.*s's value \"%.*s\" is invalid", BYTES_ARG(m->key),
                     BYTES_ARG(text));
        }
    }
}

static void take_min_version(struct context *c, const struct conf_member *m, struct tls_options *t)
{
    if (m->value.type != CONF_STRING) {
        complain(c, m, "'min_version' wrong type: %s", conf_type_name(m->value.type));
    } else if (bytes_is(m->value.text, "1.2")) {
        t->min_version = 12;
    } else if (bytes_is(m->value.text, "1.3")) {
        t->min_version = 13;
    } else if (bytes_is(m->value.text, "1.0") || bytes_is(m->value.text, "1.1")) {
        complain(c, m, "unsupported TLS version: TLS %s", m->value.text.ptr);
    } else {
        complain(c, m, "unknown version: %s", m->value.text.ptr);
    }
}

static void take_pinned(struct context *c, const struct conf_member *m, struct tls_options *t)
{
    take_texts(c, m, &t->pinned_certs);
    for (uint32_t i = 0; i < t->pinned_certs.count; i++) {
        char *text = t->pinned_certs.items[i];
        bool hex = strlen(text) == 64;
        for (char *p = text; *p != '\0'; p++) {
            hex = hex && isxdigit((unsigned char)*p);
            *p = (char)tolower((unsigned char)*p);
        }
        if (!hex) {
            complain(c, m,
                     "error parsing 'pinned_certs' key %s does not look like hex-encoded sha256",
                     text);
        }
    }
}

static void take_more_certs(struct context *c, const struct conf_member *m, struct tls_options *t)
{
    if (!expect_type(c, m, CONF_ARRAY)) {
        return;
    }
    for (uint32_t i = 0; i < m->value.count; i++) {
        const struct conf_value *pair = &m->value.members[i].value;
        const struct conf_member *cert =
            pair->type == CONF_MAP ? conf_find(pair, "cert_file") : NULL;
        const struct conf_member *key = pair->type == CONF_MAP ? conf_find(pair, "key_file") : NULL;
        if (cert == NULL || key == NULL || cert->value.type != CONF_STRING ||
            key->value.type != CONF_STRING) {
            complain(c, m,
                     "error parsing certificates config: both 'cert_file' and 'key_file' are "
                     "required");
            continue;
        }
        text_list_add(&t->more_certs, cert->value.text);
        text_list_add(&t->more_keys, key->value.text);
    }
}

/* bool, or { verify, warn_only, … }. */
static void take_ocsp_peer(struct context *c, const struct conf_member *m, struct tls_options *t)
{
    bool lenient = false;
    t->unrevoked_only = true;
    if (m->value.type != CONF_MAP) {
        take_bool(c, m, &t->unrevoked_only);
    }
    for (uint32_t i = 0; m->value.type == CONF_MAP && i < m->value.count; i++) {
        const struct conf_member *f = &m->value.members[i];
        if (bytes_is(f->key, "verify")) {
            take_bool(c, f, &t->unrevoked_only);
        } else if (bytes_is(f->key, "warn_only")) {
            take_bool(c, f, &lenient);
        }
    }
    t->unrevoked_only = t->unrevoked_only && !lenient;
    if (t->unrevoked_only) {
        note_instead(c, m, "no certificate that the other side shows is accepted");
    } else if (lenient) {
        note_no_effect(c, m);
    }
}

static void take_member(struct context *c, const struct conf_member *m, struct tls_options *t)
{
    static const char *const not_here[] = {"cert_store",     "cert_match_by",
                                           "cert_match",     "cert_match_skip_invalid",
                                           "ca_certs_match", NULL};
    const struct {
        const char *name;
        char **text;
        bool *flag;
        struct text_list *list;
    } simple[] = {{"cert_file", &t->cert_file, NULL, NULL},
                  {"key_file", &t->key_file, NULL, NULL},
                  {"ca_file", &t->ca_file, NULL, NULL},
                  {"verify", NULL, &t->verify, NULL},
                  {"verify_and_map", NULL, &t->verify_and_map, NULL},
                  {"verify_cert_and_check_known_urls", NULL, &t->check_known_urls, NULL},
                  {"insecure", NULL, &t->insecure, NULL},
                  {"allow_insecure_cipher_suites", NULL, &t->allow_insecure_suites, NULL},
                  {"cipher_suites", NULL, NULL, &t->cipher_suites},
                  {"curve_preferences", NULL, NULL, &t->curve_preferences}};
    static const char *const first[] = {"handshake_first", "first", "immediate", NULL};
    static const char *const certs[] = {"certs", "certificates", NULL};
    for (size_t i = 0; i < sizeof simple / sizeof simple[0]; i++) {
        if (!bytes_eq_nocase(m->key, bytes_of(simple[i].name))) {
            continue;
        }
        if (simple[i].text != NULL) {
            take_text(c, m, simple[i].text);
        } else if (simple[i].flag != NULL) {
            take_bool(c, m, simple[i].flag);
        } else {
            take_texts(c, m, simple[i].list);
            if (simple[i].list->count == 0) {
                complain(c, m, "error parsing tls config, '%s' cannot be empty", simple[i].name);
            }
        }
        return;
    }
    if (bytes_eq_nocase(m->key, BYTES_LIT("timeout"))) {
        if (!take_seconds(m, &t->timeout_ns)) {
            take_duration(c, m, &t->timeout_ns);
        }
    } else if (bytes_eq_nocase(m->key, BYTES_LIT("connection_rate_limit"))) {
        take_int(c, m, &t->rate_limit);
    } else if (bytes_eq_nocase(m->key, BYTES_LIT("min_version"))) {
        take_min_version(c, m, t);
    } else if (bytes_eq_nocase(m->key, BYTES_LIT("pinned_certs"))) {
        take_pinned(c, m, t);
    } else if (key_in(m->key, first)) {
        take_handshake_first(c, m, t);
    } else if (key_in(m->key, certs)) {
        take_more_certs(c, m, t);
    } else if (key_in(m->key, not_here)) {
        complain(c, m, "os certificate store not supported on this platform: \"%.*s\"",
                 BYTES_ARG(m->key));
    } else if (bytes_eq_nocase(m->key, BYTES_LIT("ocsp_peer"))) {
        take_ocsp_peer(c, m, t);
    } else {
        complain(c, m, "error parsing tls config, unknown field \"%.*s\"", BYTES_ARG(m->key));
    }
}

void take_tls(struct context *c, const struct conf_member *m, struct tls_options *t)
{
    if (!expect_type(c, m, CONF_MAP)) {
        return;
    }
    struct buffer place = {0};
    buffer_printf(&place, "%s:%d:%d%c", m->file, m->line, m->column, '\0');
    t->set = true;
    free(t->place);
    t->place = place.data; /* kept until somebody reads the files */
    for (uint32_t i = 0; i < m->value.count; i++) {
        take_member(c, &m->value.members[i], t);
    }
    t->verify = t->verify || t->verify_and_map;
    if (t->cert_file != NULL && t->more_certs.count > 0) {
        complain(c, m,
                 "error parsing tls config, cannot combine 'cert_file' option with 'certs' "
                 "option");
    } else if (t->cert_file != NULL && t->key_file == NULL) {
        complain(c, m, "missing 'key_file' in TLS configuration");
    } else if (t->key_file != NULL && t->cert_file == NULL) {
        complain(c, m, "missing 'cert_file' in TLS configuration");
    } else if (t->cert_file == NULL && t->more_certs.count == 0) {
        complain(c, m, "missing 'cert_file' in TLS configuration");
    }
}
