#include <criterion/criterion.h>

#include "jetstream/store/seal.h"

#define B(text) BYTES_LIT(text)

Test(seal, what_was_closed_opens_at_its_place_only)
{
    static const enum seal_cipher ciphers[] = {SEAL_CHACHAPOLY, SEAL_AES};
    for (int i = 0; i < 2; i++) {
        struct seal *seal = seal_new(ciphers[i]);
        struct buffer sealed = {0}, again = {0}, plain = {0};
        seal_close(seal, B("here"), B("a message"), &sealed);
        seal_close(seal, B("here"), B("a message"), &again);
        cr_assert_eq(sealed.len, 9 + SEAL_OVERHEAD);
        cr_assert_not(bytes_eq(buffer_bytes(&sealed), buffer_bytes(&again)),
                      "the same bytes twice");
        cr_assert_null(memmem(sealed.data, sealed.len, "message", 7));
        cr_assert_eq(seal_open(seal, B("here"), buffer_bytes(&sealed), &plain), OK);
        cr_assert(bytes_is(buffer_bytes(&plain), "a message"));
        buffer_clear(&plain);
        cr_assert_eq(seal_open(seal, B("there"), buffer_bytes(&sealed), &plain), ERR_CORRUPT);
        for (size_t at = 0; at < sealed.len; at++) {
            sealed.data[at] ^= 1;
            cr_assert_eq(seal_open(seal, B("here"), buffer_bytes(&sealed), &plain), ERR_CORRUPT);
            cr_assert_eq(plain.len, 0);
            sealed.data[at] ^= 1;
            cr_assert_eq(seal_open(seal, B("here"), bytes_make(sealed.data, at), &plain),
                         ERR_CORRUPT);
        }
        buffer_deinit(&sealed);
        buffer_deinit(&again);
        buffer_deinit(&plain);
        seal_free(seal);
    }
}

Test(seal, the_records_key_is_kept_under_another)
{
    struct seal *seal = seal_new(SEAL_AES);
    struct buffer wrapped = {0}, sealed = {0}, plain = {0};
    seal_wrap(seal, B("secret"), &wrapped);
    seal_close(seal, B("here"), B("x"), &sealed);
    cr_assert_null(seal_unwrap(buffer_bytes(&wrapped), B("wrong")));
    cr_assert_null(seal_unwrap(BYTES_NONE, B("secret")));
    struct seal *same = seal_unwrap(buffer_bytes(&wrapped), B("secret"));
    cr_assert_not_null(same);
    cr_assert_eq(seal_open(same, B("here"), buffer_bytes(&sealed), &plain), OK);
    wrapped.data[0] = SEAL_CHACHAPOLY; /* the cipher is authenticated, too */
    cr_assert_null(seal_unwrap(buffer_bytes(&wrapped), B("secret")));
    buffer_deinit(&wrapped);
    buffer_deinit(&sealed);
    buffer_deinit(&plain);
    seal_free(seal);
    seal_free(same);
}
