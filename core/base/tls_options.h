/* tls_options: what a tls{} block says. Plain data: core/config reads it, core/net uses it. */
#ifndef CORE_BASE_TLS_OPTIONS_H
#define CORE_BASE_TLS_OPTIONS_H

#include "core/base/text_list.h"

struct tls_options {
    bool set;    /* there is such a block */
    char *place; /* "FILE:LINE:COLUMN" of the block; NULL: it is made of flags */
    char *cert_file, *key_file, *ca_file;
    struct text_list more_certs, more_keys; /* certs: [ {cert_file, key_file} ]: n-th with n-th */
    bool verify;         /* the client must have a certificate that ca_file vouches for */
    bool verify_and_map; /* and the certificate says who it is; implies verify */
    bool check_known_urls;
    bool unrevoked_only; /* ocsp_peer: as nobody asks yet, no certificate of the other side will do
                          */
    bool insecure;       /* as client: take any certificate */
    bool allow_insecure_suites;
    struct text_list cipher_suites;     /* names as Go has them; empty: all secure ones */
    struct text_list curve_preferences; /* the same */
    struct text_list pinned_certs;      /* lower-case hex SHA-256 of SubjectPublicKeyInfo */
    int min_version;                    /* 12 or 13: TLS 1.2, 1.3 */
    int64_t timeout_ns;                 /* for the handshake, from accepting on */
    int64_t rate_limit;                 /* new connections per second; 0: no limit */
    bool handshake_first;
    int64_t handshake_first_delay_ns; /* > 0: INFO goes out in clear when nothing comes till then */
};

struct tls_options tls_options_default(void);
void tls_options_deinit(struct tls_options *o);

#endif
