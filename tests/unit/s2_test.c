#include <criterion/criterion.h>

#include "core/base/random.h"
#include "core/net/s2.h"

static enum err read_all(struct bytes in, size_t step, struct buffer *out)
{
    struct s2_reader r = {0};
    struct buffer one = {0};
    enum err err = OK;
    while (in.len > 0 && err == OK) {
        struct bytes part = bytes_make(in.ptr, in.len < step ? in.len : step);
        in = bytes_skip(in, part.len);
        while ((err = s2_read(&r, &part, &one)) == OK && one.len > 0) {
            buffer_append_bytes(out, buffer_bytes(&one));
            buffer_clear(&one);
        }
        cr_assert(err != OK || part.len == 0);
    }
    buffer_deinit(&one);
    s2_reader_deinit(&r);
    return err;
}

Test(s2, what_is_written_is_read_in_any_pieces)
{
    struct random random;
    random_seed(&random, 3);
    struct buffer plain = {0}, stream = {0};
    for (int i = 0; i < 3; i++) {
        struct buffer part = {0};
        while (part.len < 150000) { /* text that repeats, and some that does not */
            buffer_printf(&part, "RMSG $G subject.%u 5\r\n", (unsigned)random_below(&random, 50));
        }
        s2_write(buffer_bytes(&part), i != 1, &stream);
        buffer_append_bytes(&plain, buffer_bytes(&part));
        buffer_deinit(&part);
    }
    cr_assert(stream.len < plain.len / 2);
    static const size_t steps[] = {1, 7, 4096, 1 << 20};
    for (size_t i = 0; i < 4; i++) {
        struct buffer out = {0};
        cr_assert_eq(read_all(buffer_bytes(&stream), steps[i], &out), OK);
        cr_assert(bytes_eq(buffer_bytes(&out), buffer_bytes(&plain)));
        buffer_deinit(&out);
    }
    stream.data[stream.len / 2] ^= 1;
    struct buffer out = {0};
    cr_assert_eq(read_all(buffer_bytes(&stream), 4096, &out), ERR_CORRUPT);
    buffer_deinit(&out);
    buffer_deinit(&plain);
    buffer_deinit(&stream);
}

/* NATS route protocol §7: an answer as nats-server sends it. */
Test(s2, a_captured_chunk)
{
    static const char pong[] = "\xff\x06\0\0S2sTwO\x01\x0a\0\0\xf5\x6f\x1b\xe4PONG\r\n";
    struct buffer out = {0};
    cr_assert_eq(read_all(bytes_make(pong, sizeof pong - 1), 64, &out), OK);
    cr_assert(bytes_is(buffer_bytes(&out), "PONG\r\n"));
    struct buffer written = {0};
    s2_write(BYTES_LIT("PONG\r\n"), false, &written);
    cr_assert(bytes_eq(buffer_bytes(&written), bytes_make(pong, sizeof pong - 1)));
    buffer_deinit(&out);
    buffer_deinit(&written);
}

/* What Snappy does not have: the last offset again, in each of its lengths but the longest, which
 * is checked with a real nats-server. */
Test(s2, repeat_codes)
{
    static const struct {
        const char *codes;
        size_t len, more;
    } rows[] = {
        {"\x01\0", 2, 4}, {"\x15\x02\0", 0, 0}, {"\x15\0\x05", 3, 13}, {"\x19\0\x01\0", 4, 261}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buffer block = {0}, stream = {0}, out = {0}, expected = {0};
        size_t total = 4 + 4 + rows[i].more;
        buffer_put_varint(&block, total);
        buffer_append(&block,
                      "\x0c"
                      "abcd",
                      5);                     /* literal of 4 */
        buffer_append(&block, "\x01\x04", 2); /* copy 4 from 4 back */
        buffer_append(&block, rows[i].codes, rows[i].len);
        for (size_t k = 0; k < total; k++) {
            buffer_append_char(&expected, "abcd"[k % 4]);
        }
        struct buffer plain = {0};
        s2_write(buffer_bytes(&expected), false, &plain); /* for the checksum, of one block */
        buffer_append(&stream, plain.data, 10);
        buffer_append_char(&stream, '\0');
        size_t len = 4 + block.len;
        for (int k = 0; k < 3; k++) {
            buffer_append_char(&stream, (char)(len >> (8 * k)));
        }
        buffer_append(&stream, plain.data + 14, 4);
        buffer_append_bytes(&stream, buffer_bytes(&block));
        cr_assert_eq(read_all(buffer_bytes(&stream), 4096, &out), OK, "row %zu", i);
        cr_assert(bytes_eq(buffer_bytes(&out), buffer_bytes(&expected)));
        buffer_deinit(&block);
        buffer_deinit(&stream);
        buffer_deinit(&out);
        buffer_deinit(&expected);
        buffer_deinit(&plain);
    }
}

Test(s2, nonsense_is_refused)
{
    static const struct {
        const char *text;
        size_t len;
    } rows[] = {{"PING\r\n\0\0", 8},                                   /* no identifier */
                {"\xff\x06\0\0S3sTwO", 10},                            /* another one */
                {"\xff\x06\0\0S2sTwO\x02\x01\0\0x", 15},               /* unknown type */
                {"\xff\x06\0\0S2sTwO\x01\x02\0\0xx", 16},              /* no checksum */
                {"\xff\x06\0\0S2sTwO\0\x06\0\0\0\0\0\0\xff\xff", 20}}; /* no length */
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buffer out = {0};
        cr_assert_eq(read_all(bytes_make(rows[i].text, rows[i].len), 100, &out), ERR_CORRUPT,
                     "row %zu", i);
        buffer_deinit(&out);
    }
}
