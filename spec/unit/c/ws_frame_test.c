#include "codec_check.h"

#include "codec/ws_frame.h"

static struct tg_ws_head head;

static ssize_t decode(const uint8_t *in, size_t len, struct tg_error *err)
{
    return tg_ws_head_decode(in, len, &head, err);
}

static void check_round_trip(const char *hex)
{
    uint8_t in[32], out[TG_WS_HEAD_MAX];
    struct tg_error err;
    size_t n = check_hex(hex, in);
    check_message_hex(decode, hex);
    assert_int_equal(decode(in, n, &err), n);
    assert_int_equal(tg_ws_head_encode(&head, out), n);
    assert_memory_equal(out, in, n);
}

static void test_heads(void **state)
{
    (void)state;
    check_round_trip("82 05");
    assert_int_equal(head.len, 5);
    assert_true(head.fin && !head.masked && !head.packed && head.opcode == TG_WS_BINARY);
    check_round_trip("82 85 01 02 03 04");
    assert_true(head.masked && head.mask[3] == 4);
    check_round_trip("02 fe 12 34 01 02 03 04");
    assert_int_equal(head.len, 0x1234);
    assert_false(head.fin);
    check_round_trip("c1 7f 00 00 00 00 00 01 00 00");
    assert_true(head.packed && head.len == 65536);
    check_round_trip("00 00");
    check_round_trip("89 80 09 08 07 06");
    check_round_trip("8a 7d");
}

static void test_refused(void **state)
{
    (void)state;
    check_refused_hex(decode, "a2 00", TG_PROTOCOL);
    check_refused_hex(decode, "83 00", TG_PROTOCOL);
    check_refused_hex(decode, "8b 00", TG_PROTOCOL);
    check_refused_hex(decode, "09 00", TG_PROTOCOL);
    check_refused_hex(decode, "c9 00", TG_PROTOCOL);
    check_refused_hex(decode, "89 7e", TG_PROTOCOL);
    check_refused_hex(decode, "82 7f 80", TG_PROTOCOL);
}

static void test_mask(void **state)
{
    (void)state;
    static const uint8_t mask[4] = { 1, 2, 3, 4 };
    uint8_t plain[200], masked[200], moved[220];
    uint8_t hello[5];
    tg_ws_mask(hello, (const uint8_t *)"hello", 5, mask, 0);
    assert_memory_equal(hello, "\x69\x67\x6f\x68\x6e", 5);
    for (unsigned i = 0; i < sizeof(plain); i++)
        plain[i] = (uint8_t)(i * 7);
    for (unsigned i = 0; i < sizeof(plain); i++)
        masked[i] = plain[i] ^ mask[i & 3];
    for (unsigned at = 0; at < 9; at++) {
        for (unsigned shift = 0; shift < 15; shift++) { /* in place, and to before where it is */
            memcpy(moved + shift, masked + at, sizeof(masked) - at);
            tg_ws_mask(moved, moved + shift, sizeof(masked) - at, mask, at);
            assert_memory_equal(moved, plain + at, sizeof(plain) - at);
        }
    }
}

static void test_accept(void **state)
{
    (void)state;
    char answer[TG_WS_ACCEPT_LEN + 1];
    tg_ws_accept("dGhlIHNhbXBsZSBub25jZQ==", 24, answer);
    assert_string_equal(answer, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heads),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_mask),
        cmocka_unit_test(test_accept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
