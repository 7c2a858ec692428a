#include "core/net/tls.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <mbedtls/asn1.h>
#include <mbedtls/error.h>
#include <mbedtls/oid.h>
#include <mbedtls/sha256.h>
#include <mbedtls/ssl.h>
#include <mbedtls/ssl_ticket.h>
#include <mbedtls/version.h>
#include <mbedtls/x509_crt.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "core/base/check.h"
#include "core/base/clock.h"
#include "core/base/hash.h"
#include "core/base/mem.h"
#include "core/base/random.h"

#if MBEDTLS_VERSION_NUMBER >= 0x03000000
#include <psa/crypto.h>
#define HAS_TLS13 1
#else
#define HAS_TLS13 0
#endif

#define SYSTEM_AUTHORITIES "/etc/ssl/certs/ca-certificates.crt"

struct key_pair {
    mbedtls_x509_crt cert; /* with what it was issued by */
    mbedtls_pk_context key;
};

/* Under how many curves a key is agreed on, or signs. */
#define CURVES_MAX    4
#define TICKET_LIFE_S 3600u

struct tls_context {
    atomic_uint refs;
    mbedtls_ssl_config config;
    struct key_pair *pairs;
    uint32_t pair_count, pair_cap;
    mbedtls_x509_crt authorities;
    mbedtls_ssl_ticket_context tickets; /* its keys are made anew every TICKET_LIFE_S */
#if HAS_TLS13
    uint16_t curves[CURVES_MAX + 1]; /* zero-terminated, best first */
#else
    mbedtls_ecp_group_id curves[CURVES_MAX + 1];
#endif
    int *suites;           /* zero-terminated; NULL: mbedTLS's own choice */
    struct text_list pins; /* hex */
    bool verifies;
    bool unrevoked_only;
};

struct tls_session {
    struct tls_context *context; /* counted */
    mbedtls_ssl_context ssl;
    struct bytes in;    /* borrowed, or `kept` */
    struct buffer kept; /* what tls_keep_input() has copied */
    struct buffer out;
    bool agreed;
    char *peer_name; /* owned; as client: whom the certificate has to be for; NULL: anyone's */
    char error[256];
};

/* --- contexts --- */

static int random_bytes(void *arg, unsigned char *out, size_t len)
{
    (void)arg;
    random_system(out, len);
    return 0;
}

static enum err check_there(const char *what, const char *path, struct error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return error_set(error, ERR_INVALID, "%sopen %s: %s", what, path,
                         errno == ENOENT ? "no such file or directory" : strerror(errno));
    }
    (void)close(fd);
    return OK;
}

static enum err file_error(struct error *error, const char *what, const char *path, int code)
{
    char text[128];
    mbedtls_strerror(code, text, sizeof text);
    return error_set(error, ERR_INVALID, "error parsing %s: %s: %s", what, path, text);
}

static enum err load_pair(struct tls_context *c, const char *cert_file, const char *key_file,
                          struct error *error)
{
    VEC_RESERVE(c->pairs, c->pair_cap, c->pair_count);
    struct key_pair *pair = &c->pairs[c->pair_count++];
    mbedtls_x509_crt_init(&pair->cert);
    mbedtls_pk_init(&pair->key);
    static const char *const what = "error parsing X509 certificate/key pair: ";
    if (check_there(what, cert_file, error) != OK || check_there(what, key_file, error) != OK) {
        return ERR_INVALID;
    }
    int code = mbedtls_x509_crt_parse_file(&pair->cert, cert_file);
    if (code != 0) {
        return file_error(error, "X509 certificate/key pair", cert_file, code);
    }
#if HAS_TLS13
    code = mbedtls_pk_parse_keyfile(&pair->key, key_file, NULL, random_bytes, NULL);
    bool matches =
        code == 0 && mbedtls_pk_check_pair(&pair->cert.pk, &pair->key, random_bytes, NULL) == 0;
#else
    code = mbedtls_pk_parse_keyfile(&pair->key, key_file, NULL);
    bool matches = code == 0 && mbedtls_pk_check_pair(&pair->cert.pk, &pair->key) == 0;
#endif
    if (code != 0) {
        return file_error(error, "X509 certificate/key pair", key_file, code);
    }
    if (!matches) {
        return error_set(error, ERR_INVALID,
                         "error parsing X509 certificate/key pair: tls: private key %s does not "
                         "match public key %s",
                         key_file, cert_file);
    }
    return OK;
}

/* TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 ↔ TLS-ECDHE-RSA-WITH-AES-128-GCM-SHA256; the three of TLS
 * 1.3 have another prefix there, and Go leaves the hash of the ChaCha suites out. */
static int suite_id(const char *name)
{
    char text[80];
    bool v13 = strstr(name, "_WITH_") == NULL;
    (void)snprintf(text, sizeof text, "%s%s%s", v13 ? "TLS1-3-" : "",
                   v13 && strncmp(name, "TLS_", 4) == 0 ? name + 4 : name,
                   strlen(name) > 8 && strcmp(name + strlen(name) - 8, "POLY1305") == 0 ? "-SHA256"
                                                                                        : "");
    for (char *p = text; *p != '\0'; p++) {
        *p = *p == '_' ? '-' : *p;
    }
    return mbedtls_ssl_get_ciphersuite_id(text);
}

static bool is_known_suite(const char *name)
{
    static const char *const known[] = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
                                        "TLS_CHACHA20_POLY1305_SHA256", NULL};
    for (const char *const *k = known; *k != NULL; k++) {
        if (strcmp(name, *k) == 0) {
            return true;
        }
    }
    return suite_id(name) != 0;
}

/* What TLS 1.2 may use unless the configuration says otherwise: forward secrecy and AEAD. */
static const char *const default_suites[] = {"TLS_AES_128_GCM_SHA256",
                                             "TLS_AES_256_GCM_SHA384",
                                             "TLS_CHACHA20_POLY1305_SHA256",
                                             "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
                                             "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
                                             "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
                                             "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
                                             "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
                                             "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"};

static bool is_insecure(const char *name)
{
    return strstr(name, "_WITH_") != NULL &&
           (strncmp(name, "TLS_ECDHE_", 10) != 0 || strstr(name, "RC4") != NULL ||
            strstr(name, "3DES") != NULL || strstr(name, "CBC_SHA256") != NULL);
}

static enum err set_suites(struct tls_context *c, const struct tls_options *o, struct error *error)
{
    size_t defaults = sizeof default_suites / sizeof default_suites[0];
    size_t count = o->cipher_suites.count > 0 ? o->cipher_suites.count : defaults;
    size_t used = 0;
    c->suites = mem_zalloc((count + 1) * sizeof *c->suites);
    for (size_t i = 0; i < count; i++) {
        const char *name =
            o->cipher_suites.count > 0 ? o->cipher_suites.items[i] : default_suites[i];
        if (!is_known_suite(name)) {
            return error_set(error, ERR_INVALID, "unrecognized cipher %s", name);
        }
        if (is_insecure(name) && !o->allow_insecure_suites) {
            return error_set(error, ERR_INVALID,
                             "insecure cipher suites configured without "
                             "'allow_insecure_cipher_suites' option set: %s",
                             name);
        }
        int id = suite_id(name); /* 0: one of TLS 1.3, in a library without it */
        if (id != 0) {
            c->suites[used++] = id;
        }
    }
    if (used == 0) {
        return error_set(error, ERR_INVALID, "none of the configured cipher suites is available");
    }
    mbedtls_ssl_conf_ciphersuites(&c->config, c->suites);
    return OK;
}

static enum err set_versions(struct tls_context *c, const struct tls_options *o,
                             struct error *error)
{
#if HAS_TLS13
    (void)error;
    mbedtls_ssl_conf_min_tls_version(&c->config, o->min_version == 13 ? MBEDTLS_SSL_VERSION_TLS1_3
                                                                      : MBEDTLS_SSL_VERSION_TLS1_2);
#else
    if (o->min_version == 13) {
        return error_set(error, ERR_INVALID,
                         "min_version 1.3: the TLS library here (mbedTLS %s) has no TLS 1.3",
                         MBEDTLS_VERSION_STRING);
    }
    mbedtls_ssl_conf_min_version(&c->config, MBEDTLS_SSL_MAJOR_VERSION_3,
                                 MBEDTLS_SSL_MINOR_VERSION_3);
#endif
    return OK;
}

/* A curve by Go's name for it and as the library knows it. In the order in which they are
 * preferred: the first that the client has too is used, and the library's own order begins with the
 * one that takes five times as long. */
static const struct curve {
    const char *name;
#if HAS_TLS13
    uint16_t id;
} curves[CURVES_MAX] = {{"X25519", MBEDTLS_SSL_IANA_TLS_GROUP_X25519},
                        {"CurveP256", MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1},
                        {"CurveP384", MBEDTLS_SSL_IANA_TLS_GROUP_SECP384R1},
                        {"CurveP521", MBEDTLS_SSL_IANA_TLS_GROUP_SECP521R1}};
#else
    mbedtls_ecp_group_id id;
} curves[CURVES_MAX] = {{"X25519", MBEDTLS_ECP_DP_CURVE25519},
                        {"CurveP256", MBEDTLS_ECP_DP_SECP256R1},
                        {"CurveP384", MBEDTLS_ECP_DP_SECP384R1},
                        {"CurveP521", MBEDTLS_ECP_DP_SECP521R1}};
#endif

static bool is_known_curve(const char *name)
{
    static const char *const hybrid[] = {"X25519MLKEM768", "SecP384r1MLKEM1024",
                                         "SecP256r1MLKEM768"};
    bool known = false;
    for (size_t i = 0; i < CURVES_MAX; i++) {
        known = known || strcasecmp(curves[i].name, name) == 0;
    }
    for (size_t i = 0; i < sizeof hybrid / sizeof hybrid[0]; i++) {
        known = known || strcasecmp(hybrid[i], name) == 0; /* the library has none of them */
    }
    return known;
}

/* Those of the configuration first, then the others: the same list says which curves certificates
 * may have. */
static enum err set_curves(struct tls_context *c, const struct tls_options *o, struct error *error)
{
    bool taken[CURVES_MAX] = {0};
    size_t count = 0;
    for (uint32_t i = 0; i < o->curve_preferences.count; i++) {
        const char *name = o->curve_preferences.items[i];
        if (!is_known_curve(name)) {
            return error_set(error, ERR_INVALID, "unrecognized curve preference %s", name);
        }
        for (size_t k = 0; k < CURVES_MAX; k++) {
            if (!taken[k] && strcasecmp(curves[k].name, name) == 0) {
                taken[k] = true;
                c->curves[count++] = curves[k].id;
            }
        }
    }
    for (size_t k = 0; k < CURVES_MAX; k++) {
        if (!taken[k]) {
            c->curves[count++] = curves[k].id;
        }
    }
    CHECK(count == CURVES_MAX);
#if HAS_TLS13
    mbedtls_ssl_conf_groups(&c->config, c->curves);
#else
    mbedtls_ssl_conf_curves(&c->config, c->curves);
#endif
    return OK;
}

/* A client that comes back shows what it was given, and neither side computes with curves. The keys
 * are this context's alone, so a reload ends it. Not where clients' certificates count: they are
 * looked at again each time. */
static void set_tickets(struct tls_context *c)
{
#if !HAS_TLS13
    if (!c->verifies && mbedtls_ssl_ticket_setup(&c->tickets, random_bytes, NULL,
                                                 MBEDTLS_CIPHER_AES_256_GCM, TICKET_LIFE_S) == 0) {
        mbedtls_ssl_conf_session_tickets_cb(&c->config, mbedtls_ssl_ticket_write,
                                            mbedtls_ssl_ticket_parse, &c->tickets);
    }
#else
    (void)c;
#endif
}

/* The key's group computes a table with its first signature and keeps it: done here, for several
 * threads would do it at once. */
static void warm_up(mbedtls_pk_context *key)
{
    unsigned char digest[32] = {1}, signature[MBEDTLS_PK_SIGNATURE_MAX_SIZE];
    size_t len;
    if (mbedtls_pk_can_do(key, MBEDTLS_PK_ECDSA)) {
#if HAS_TLS13
        (void)mbedtls_pk_sign(key, MBEDTLS_MD_SHA256, digest, sizeof digest, signature,
                              sizeof signature, &len, random_bytes, NULL);
#else
        (void)mbedtls_pk_sign(key, MBEDTLS_MD_SHA256, digest, sizeof digest, signature, &len,
                              random_bytes, NULL);
#endif
    }
}

static bool name_is_for(const char *pattern, size_t len, struct bytes host)
{
    struct bytes p = bytes_make(pattern, len);
    if (bytes_starts(p, BYTES_LIT("*."))) {
        const char *dot = memchr(host.ptr, '.', host.len);
        return dot != NULL &&
               bytes_eq_nocase(bytes_skip(p, 1), bytes_skip(host, (size_t)(dot - host.ptr)));
    }
    return bytes_eq_nocase(p, host);
}

static bool cert_is_for(const mbedtls_x509_crt *cert, struct bytes host)
{
    for (const mbedtls_x509_sequence *n = &cert->subject_alt_names; n != NULL; n = n->next) {
        if ((n->buf.tag & 0x1f) == 2 && name_is_for((const char *)n->buf.p, n->buf.len, host)) {
            return true;
        }
    }
    return false;
}

/* The client named the host it wants: the first certificate for that one, else the first. */
static int on_server_name(void *arg, mbedtls_ssl_context *ssl, const unsigned char *name,
                          size_t len)
{
    struct tls_context *c = arg;
    for (uint32_t i = 0; i < c->pair_count; i++) {
        if (cert_is_for(&c->pairs[i].cert, bytes_make(name, len))) {
            return mbedtls_ssl_set_hs_own_cert(ssl, &c->pairs[i].cert, &c->pairs[i].key);
        }
    }
    return 0;
}

/* A certificate that is itself in ca_file is trusted, whoever has issued it: as by Go. The library
 * does so with self-signed ones alone. */
static int on_verify(void *arg, mbedtls_x509_crt *cert, int depth, uint32_t *flags)
{
    const struct tls_context *c = arg;
    if (depth != 0 || (*flags & MBEDTLS_X509_BADCERT_NOT_TRUSTED) == 0) {
        return 0;
    }
    for (const mbedtls_x509_crt *a = &c->authorities; a != NULL; a = a->next) {
        if (a->raw.len > 0 &&
            bytes_eq(bytes_make(a->raw.p, a->raw.len), bytes_make(cert->raw.p, cert->raw.len))) {
            *flags &= ~(uint32_t)MBEDTLS_X509_BADCERT_NOT_TRUSTED;
            break;
        }
    }
    return 0;
}

static enum err load(struct tls_context *c, const struct tls_options *o, enum tls_role role,
                     struct error *error)
{
    enum err err = OK;
    int endpoint = role == TLS_SERVER ? MBEDTLS_SSL_IS_SERVER : MBEDTLS_SSL_IS_CLIENT;
    CHECK(mbedtls_ssl_config_defaults(&c->config, endpoint, MBEDTLS_SSL_TRANSPORT_STREAM,
                                      MBEDTLS_SSL_PRESET_DEFAULT) == 0);
    mbedtls_ssl_conf_rng(&c->config, random_bytes, NULL);
    mbedtls_ssl_conf_session_tickets(&c->config, MBEDTLS_SSL_SESSION_TICKETS_DISABLED);
    if (o->cert_file != NULL) {
        err = load_pair(c, o->cert_file, o->key_file, error);
    }
    for (uint32_t i = 0; i < o->more_certs.count && err == OK; i++) {
        err = load_pair(c, o->more_certs.items[i], o->more_keys.items[i], error);
    }
    for (uint32_t i = 0; i < c->pair_count && err == OK; i++) {
        CHECK(mbedtls_ssl_conf_own_cert(&c->config, &c->pairs[i].cert, &c->pairs[i].key) == 0);
        warm_up(&c->pairs[i].key);
    }
    c->unrevoked_only = o->unrevoked_only;
    c->verifies = role == TLS_SERVER ? o->verify : !o->insecure;
    if (role == TLS_SERVER) {
        set_tickets(c);
    }
    if (err == OK && (c->verifies || o->ca_file != NULL)) {
        const char *file = o->ca_file == NULL ? SYSTEM_AUTHORITIES : o->ca_file;
        err = check_there("", file, error);
        if (err == OK && mbedtls_x509_crt_parse_file(&c->authorities, file) < 0) {
            err = error_set(error, ERR_INVALID, "failed to parse root ca certificate: %s", file);
        }
        mbedtls_ssl_conf_ca_chain(&c->config, &c->authorities, NULL);
        mbedtls_ssl_conf_verify(&c->config, on_verify, c);
    }
    mbedtls_ssl_conf_authmode(&c->config,
                              c->verifies ? MBEDTLS_SSL_VERIFY_REQUIRED : MBEDTLS_SSL_VERIFY_NONE);
    if (c->pair_count > 1) {
        mbedtls_ssl_conf_sni(&c->config, on_server_name, c);
    }
    for (uint32_t i = 0; i < o->pinned_certs.count; i++) {
        text_list_add(&c->pins, bytes_of(o->pinned_certs.items[i]));
    }
    err = err == OK ? set_versions(c, o, error) : err;
    err = err == OK ? set_curves(c, o, error) : err;
    return err == OK ? set_suites(c, o, error) : err;
}

struct tls_context *tls_context_new(const struct tls_options *options, enum tls_role role,
                                    struct error *error)
{
#if HAS_TLS13
    CHECK(psa_crypto_init() == PSA_SUCCESS);
#endif
    struct tls_context *c = NEW(struct tls_context);
    atomic_init(&c->refs, 1);
    mbedtls_ssl_config_init(&c->config);
    mbedtls_x509_crt_init(&c->authorities);
    mbedtls_ssl_ticket_init(&c->tickets);
    if (load(c, options, role, error) != OK) {
        tls_context_release(c);
        return NULL;
    }
    return c;
}

struct tls_context *tls_context_retain(struct tls_context *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void tls_context_release(struct tls_context *c)
{
    if (c == NULL || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    mbedtls_ssl_config_free(&c->config);
    mbedtls_ssl_ticket_free(&c->tickets);
    for (uint32_t i = 0; i < c->pair_count; i++) {
        mbedtls_x509_crt_free(&c->pairs[i].cert);
        mbedtls_pk_free(&c->pairs[i].key);
    }
    free(c->pairs);
    mbedtls_x509_crt_free(&c->authorities);
    text_list_clear(&c->pins);
    free(c->suites);
    free(c);
}

int64_t tls_context_not_after_ns(const struct tls_context *c)
{
    int64_t first = 0;
    for (uint32_t i = 0; i < c->pair_count; i++) {
        const mbedtls_x509_time *t = &c->pairs[i].cert.valid_to;
        struct tm tm = {.tm_year = t->year - 1900,
                        .tm_mon = t->mon - 1,
                        .tm_mday = t->day,
                        .tm_hour = t->hour,
                        .tm_min = t->min,
                        .tm_sec = t->sec};
        int64_t seconds = timegm(&tm);
        int64_t ns = seconds > TIME_MAX_NS / NS_PER_SEC ? TIME_MAX_NS : seconds * NS_PER_SEC;
        first = first == 0 || ns < first ? ns : first;
    }
    return first;
}

/* --- sessions --- */

static bool is_ip_address(const char *text)
{
    struct in6_addr ignored;
    return inet_pton(AF_INET, text, &ignored) == 1 || inet_pton(AF_INET6, text, &ignored) == 1;
}

static int take_input(void *arg, unsigned char *out, size_t len)
{
    struct tls_session *s = arg;
    if (s->in.len == 0) {
        return MBEDTLS_ERR_SSL_WANT_READ;
    }
    size_t n = len < s->in.len ? len : s->in.len;
    memcpy(out, s->in.ptr, n);
    s->in = bytes_skip(s->in, n);
    return (int)n;
}

static int put_output(void *arg, const unsigned char *bytes, size_t len)
{
    struct tls_session *s = arg;
    buffer_append(&s->out, bytes, len);
    return (int)len;
}

struct tls_session *tls_session_new(struct tls_context *context, const char *peer_name)
{
    struct tls_session *s = NEW(struct tls_session);
    s->context = tls_context_retain(context);
    mbedtls_ssl_init(&s->ssl);
    CHECK(mbedtls_ssl_setup(&s->ssl, &context->config) == 0);
    bool is_address = peer_name != NULL && is_ip_address(peer_name);
    if (peer_name != NULL && context->verifies) {
        s->peer_name = mem_strdup(peer_name);
    }
    /* Addresses are no server names (RFC 6066 §3), and not every version of the library compares
     * them: tls_handshake() does. */
    CHECK(mbedtls_ssl_set_hostname(&s->ssl, is_address ? NULL : peer_name) == 0);
    mbedtls_ssl_set_bio(&s->ssl, s, put_output, take_input, NULL);
    return s;
}

void tls_session_free(struct tls_session *s)
{
    if (s == NULL) {
        return;
    }
    mbedtls_ssl_free(&s->ssl);
    buffer_deinit(&s->kept);
    buffer_deinit(&s->out);
    free(s->peer_name);
    tls_context_release(s->context);
    free(s);
}

void tls_feed(struct tls_session *s, struct bytes ciphertext)
{
    buffer_deinit(&s->kept);
    s->in = ciphertext;
}

void tls_keep_input(struct tls_session *s)
{
    struct buffer rest = {0};
    buffer_append_bytes(&rest, s->in);
    buffer_deinit(&s->kept);
    s->kept = rest;
    s->in = buffer_bytes(&s->kept);
}

struct buffer *tls_output(struct tls_session *s)
{
    return &s->out;
}

const char *tls_session_error(const struct tls_session *s)
{
    return s->error;
}

static const char *verify_text(uint32_t flags)
{
    return (flags & MBEDTLS_X509_BADCERT_EXPIRED) != 0
               ? "x509: certificate has expired or is not yet valid: it has expired"
           : (flags & MBEDTLS_X509_BADCERT_FUTURE) != 0
               ? "x509: certificate has expired or is not yet valid: it is not valid yet"
           : (flags & MBEDTLS_X509_BADCERT_CN_MISMATCH) != 0
               ? "x509: certificate is not valid for the name of the server"
           : (flags & MBEDTLS_X509_BADCERT_NOT_TRUSTED) != 0
               ? "x509: certificate signed by unknown authority"
           : (flags & (MBEDTLS_X509_BADCERT_KEY_USAGE | MBEDTLS_X509_BADCERT_EXT_KEY_USAGE)) != 0
               ? "x509: certificate specifies an incompatible key usage"
           : (flags & MBEDTLS_X509_BADCERT_MISSING) != 0 ? "client didn't provide a certificate"
                                                         : "x509: certificate is not acceptable";
}

static enum tls_status failed(struct tls_session *s, int code)
{
    char text[160];
    uint32_t flags = mbedtls_ssl_get_verify_result(&s->ssl);
    if (code == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY || code == MBEDTLS_ERR_SSL_CONN_EOF) {
        (void)snprintf(s->error, sizeof s->error, "EOF");
    } else if (code == MBEDTLS_ERR_X509_CERT_VERIFY_FAILED && flags != UINT32_MAX) {
        (void)snprintf(s->error, sizeof s->error, "tls: failed to verify certificate: %s",
                       verify_text(flags));
    } else if (flags != UINT32_MAX && (flags & MBEDTLS_X509_BADCERT_MISSING) != 0) {
        (void)snprintf(s->error, sizeof s->error, "tls: client didn't provide a certificate");
    } else {
        mbedtls_strerror(code, text, sizeof text);
        (void)snprintf(s->error, sizeof s->error, "tls: %s", text);
    }
    return TLS_FAILED;
}

static bool is_pinned(const struct tls_session *s)
{
    const mbedtls_x509_crt *cert = mbedtls_ssl_get_peer_cert(&s->ssl);
    uint8_t digest[32];
    char hex[65];
    if (s->context->pins.count == 0) {
        return true;
    }
    if (cert == NULL) {
        return false;
    }
    hash_sha256(bytes_make(cert->pk_raw.p, cert->pk_raw.len), digest);
    for (int i = 0; i < 32; i++) {
        (void)snprintf(hex + (ptrdiff_t)2 * i, 3, "%02x", digest[i]);
    }
    for (uint32_t i = 0; i < s->context->pins.count; i++) {
        if (strcmp(s->context->pins.items[i], hex) == 0) {
            return true;
        }
    }
    return false;
}

/* TLS 1.2 of the library ends a handshake without the certificate that it demands, and says
 * nothing. Go's alert for it. */
static void tell_what_is_missing(struct tls_session *s, int code)
{
    if (code == MBEDTLS_ERR_SSL_NO_CLIENT_CERTIFICATE) {
        (void)mbedtls_ssl_send_alert_message(&s->ssl, MBEDTLS_SSL_ALERT_LEVEL_FATAL,
                                             MBEDTLS_SSL_ALERT_MSG_BAD_CERT);
    }
}

enum tls_status tls_handshake(struct tls_session *s)
{
    if (s->agreed) {
        return TLS_OK;
    }
    int code = mbedtls_ssl_handshake(&s->ssl);
    if (code == MBEDTLS_ERR_SSL_WANT_READ) {
        return TLS_MORE;
    }
    if (code != 0) {
        tell_what_is_missing(s, code);
        return failed(s, code);
    }
    if (s->peer_name != NULL && !tls_peer_is(s, s->peer_name)) {
        (void)snprintf(s->error, sizeof s->error,
                       "tls: failed to verify certificate: x509: certificate is not valid for %s",
                       s->peer_name);
        return TLS_FAILED;
    }
    if (!is_pinned(s)) {
        (void)snprintf(s->error, sizeof s->error, "certificate not pinned");
        return TLS_FAILED;
    }
    if (s->context->unrevoked_only && mbedtls_ssl_get_peer_cert(&s->ssl) != NULL) {
        (void)snprintf(s->error, sizeof s->error,
                       "ocsp_peer: whether the certificate is revoked cannot be found out in this "
                       "version yet");
        return TLS_FAILED;
    }
    s->agreed = true;
    return TLS_OK;
}

enum tls_status tls_read(struct tls_session *s, char *out, size_t cap, size_t *len)
{
    int n = mbedtls_ssl_read(&s->ssl, (unsigned char *)out, cap);
    if (n > 0) {
        *len = (size_t)n;
        return TLS_OK;
    }
    if (n == MBEDTLS_ERR_SSL_WANT_READ) {
        return TLS_MORE;
    }
    return n == 0 || n == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY ? TLS_CLOSED : failed(s, n);
}

enum tls_status tls_write(struct tls_session *s, struct bytes plaintext)
{
    while (plaintext.len > 0) {
        int n = mbedtls_ssl_write(&s->ssl, (const unsigned char *)plaintext.ptr, plaintext.len);
        if (n <= 0) {
            return failed(s, n);
        }
        plaintext = bytes_skip(plaintext, (size_t)n);
    }
    return TLS_OK;
}

void tls_close_notify(struct tls_session *s)
{
    (void)mbedtls_ssl_close_notify(&s->ssl);
}

const char *tls_session_version(const struct tls_session *s)
{
    const char *name = mbedtls_ssl_get_version(&s->ssl); /* "TLSv1.2" */
    return strncmp(name, "TLSv", 4) == 0 ? name + 4 : name;
}

void tls_session_cipher(const struct tls_session *s, char text[64])
{
    const char *name = mbedtls_ssl_get_ciphersuite(&s->ssl);
    name = name == NULL ? "" : name;
    bool v13 = strncmp(name, "TLS1-3-", 7) == 0;
    (void)snprintf(text, 64, "%s%s", v13 ? "TLS_" : "", v13 ? name + 7 : name);
    for (char *p = text; *p != '\0'; p++) {
        *p = *p == '-' ? '_' : *p;
    }
}

/* --- names in certificates --- */

enum general_name {
    NAME_EMAIL = 1,
    NAME_DNS = 2,
    NAME_URI = 6,
    NAME_ADDRESS = 7
}; /* RFC 5280 §4.2.1.6 */

typedef void (*name_visitor)(void *arg, struct bytes name);

/* The library lists DNS names only: the extension is walked here, for the names of one kind. */
static void each_alternative(const mbedtls_x509_crt *cert, enum general_name kind,
                             name_visitor visit, void *arg)
{
    unsigned char *p = cert->v3_ext.p;
    const unsigned char *end = p + cert->v3_ext.len;
    size_t len;
    if (p == NULL || mbedtls_asn1_get_tag(&p, end, &len,
                                          MBEDTLS_ASN1_CONSTRUCTED | MBEDTLS_ASN1_SEQUENCE) != 0) {
        return;
    }
    while (p < end) {
        if (mbedtls_asn1_get_tag(&p, end, &len, MBEDTLS_ASN1_CONSTRUCTED | MBEDTLS_ASN1_SEQUENCE) !=
            0) {
            return;
        }
        unsigned char *next = p + len;
        int critical = 0;
        bool is_names = mbedtls_asn1_get_tag(&p, next, &len, MBEDTLS_ASN1_OID) == 0 &&
                        bytes_eq(bytes_make(p, len), BYTES_LIT(MBEDTLS_OID_SUBJECT_ALT_NAME));
        if (is_names) {
            p += len;
            (void)mbedtls_asn1_get_bool(&p, next, &critical);
            is_names = mbedtls_asn1_get_tag(&p, next, &len, MBEDTLS_ASN1_OCTET_STRING) == 0 &&
                       mbedtls_asn1_get_tag(&p, next, &len,
                                            MBEDTLS_ASN1_CONSTRUCTED | MBEDTLS_ASN1_SEQUENCE) == 0;
        }
        while (is_names && p < next) {
            int tag = *p++;
            if (mbedtls_asn1_get_len(&p, next, &len) != 0) {
                return;
            }
            if (tag == (MBEDTLS_ASN1_CONTEXT_SPECIFIC | (int)kind)) {
                visit(arg, bytes_make(p, len));
            }
            p += len;
        }
        p = next;
    }
}

static void put_attribute(struct buffer *out, const mbedtls_x509_name *name)
{
    const char *type = NULL;
    char number[128];
    if (mbedtls_oid_get_attr_short_name(&name->oid, &type) != 0 || type == NULL) {
        type = mbedtls_oid_get_numeric_string(number, sizeof number, &name->oid) > 0 ? number : "?";
    }
    buffer_printf(out, "%s=", strcasecmp(type, "serialNumber") == 0 ? "SERIALNUMBER" : type);
    for (size_t i = 0; i < name->val.len; i++) {
        char c = (char)name->val.p[i];
        bool edge = (i == 0 && (c == ' ' || c == '#')) || (i + 1 == name->val.len && c == ' ');
        if ((unsigned char)c < ' ' || c == 0x7f) { /* a NUL would end the name before its end */
            buffer_printf(out, "\\%02x", (unsigned char)c);
            continue;
        }
        if (edge || strchr(",+\"\\<>;", c) != NULL) {
            buffer_append_char(out, '\\');
        }
        buffer_append_char(out, c);
    }
}

/* RFC 2253: the last RDN first; attributes of one RDN joined by '+'. */
static char *subject_text(const mbedtls_x509_crt *cert)
{
    const mbedtls_x509_name *starts[64];
    size_t count = 0;
    bool merged = false;
    for (const mbedtls_x509_name *n = &cert->subject; n != NULL && count < 64; n = n->next) {
        if (!merged && n->oid.p != NULL) {
            starts[count++] = n;
        }
#if HAS_TLS13
        merged = n->MBEDTLS_PRIVATE(next_merged) != 0;
#else
        merged = n->next_merged != 0;
#endif
    }
    struct buffer out = {0};
    while (count-- > 0) {
        const mbedtls_x509_name *n = starts[count];
        buffer_append_text(&out, out.len > 0 ? "," : "");
        put_attribute(&out, n);
#if HAS_TLS13
        while (n->MBEDTLS_PRIVATE(next_merged) != 0 && n->next != NULL) {
#else
        while (n->next_merged != 0 && n->next != NULL) {
#endif
            n = n->next;
            buffer_append_char(&out, '+');
            put_attribute(&out, n);
        }
    }
    buffer_append_char(&out, '\0');
    return out.data;
}

/* A name with a control character in it is nobody's: as text, "admin\0.example" would be "admin".
 */
static void add_name(void *arg, struct bytes name)
{
    for (size_t i = 0; i < name.len; i++) {
        if ((unsigned char)name.ptr[i] < ' ' || name.ptr[i] == 0x7f) {
            return;
        }
    }
    text_list_add(arg, name);
}

bool tls_peer_names(const struct tls_session *s, struct tls_names *names)
{
    const mbedtls_x509_crt *cert = mbedtls_ssl_get_peer_cert(&s->ssl);
    if (cert == NULL || !s->context->verifies) {
        return false;
    }
    static const enum general_name order[] = {NAME_EMAIL, NAME_DNS, NAME_URI};
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        each_alternative(cert, order[i], add_name, &names->alternative);
    }
    names->subject = subject_text(cert);
    return true;
}

struct wanted_address {
    struct bytes address;
    bool found;
};

static void compare_address(void *arg, struct bytes name)
{
    struct wanted_address *wanted = arg;
    wanted->found = wanted->found || bytes_eq(name, wanted->address);
}

static bool has_address(const mbedtls_x509_crt *cert, const void *address, size_t len)
{
    struct wanted_address wanted = {bytes_make(address, len), false};
    each_alternative(cert, NAME_ADDRESS, compare_address, &wanted);
    return wanted.found;
}

bool tls_peer_is(const struct tls_session *s, const char *host)
{
    const mbedtls_x509_crt *cert = mbedtls_ssl_get_peer_cert(&s->ssl);
    struct in_addr v4;
    struct in6_addr v6;
    if (cert == NULL) {
        return false;
    }
    if (inet_pton(AF_INET, host, &v4) == 1) {
        return has_address(cert, &v4, sizeof v4);
    }
    if (inet_pton(AF_INET6, host, &v6) == 1) {
        return has_address(cert, &v6, sizeof v6);
    }
    return cert_is_for(cert, bytes_of(host));
}

void tls_names_deinit(struct tls_names *names)
{
    text_list_clear(&names->alternative);
    free(names->subject);
    *names = (struct tls_names){0};
}
