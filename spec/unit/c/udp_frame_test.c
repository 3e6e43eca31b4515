#include "codec_check.h"

#include "codec/udp_frame.h"

static struct tg_udp_frame frame;
static struct tg_span data;

static ssize_t tun(const uint8_t *in, size_t len, struct tg_error *err)
{
    return tg_udp_tun_decode(in, len, &frame, err);
}

static ssize_t u16(const uint8_t *in, size_t len, struct tg_error *err)
{
    return tg_udp_u16_decode(in, len, &data, err);
}

static ssize_t datagram(const uint8_t *in, size_t len, struct tg_error *err)
{
    return tg_udp_datagram_decode(in, len, &frame, err);
}

static void assert_target(const char *text)
{
    char got[TG_TARGET_TEXT + 1];
    got[tg_target_text(&frame.target, got)] = 0;
    assert_string_equal(got, text);
}

static void test_tun(void **state)
{
    (void)state;
    const char *hello = "00 05 ff 01 08 08 08 08 00 35 68 65 6c 6c 6f";
    check_message_hex(tun, hello);
    assert_target("8.8.8.8:53");
    assert_int_equal(frame.frag, 0xff);
    uint8_t in[32], out[TG_UDP_HEAD_MAX];
    size_t n = check_hex(hello, in);
    struct tg_error err;
    assert_int_equal(tun(in, n, &err), n);
    assert_int_equal(frame.data.len, 5);
    assert_memory_equal(frame.data.data, "hello", 5);
    assert_int_equal(tg_udp_tun_head_encode(&frame.target, 5, out, sizeof(out)), 10);
    assert_memory_equal(out, in, 10);
    assert_int_equal(tg_udp_tun_head_encode(&frame.target, 65536, out, sizeof(out)), TG_LIMIT);
    assert_int_equal(tg_udp_tun_head_encode(&frame.target, 5, out, 9), TG_LIMIT);
    assert_int_equal(tg_udp_tun_head_decode(in, 10, &frame, &err), 10);
    assert_int_equal(frame.data.len, 5);
    check_message_hex(tun, "00 00 00 03 01 61 00 35");
    assert_target("a:53");
    check_refused_hex(tun, "00 05 ff 02", TG_PROTOCOL);
    check_garbage(tun);
}

static void test_u16(void **state)
{
    (void)state;
    check_message_hex(u16, "00 00");
    check_message_hex(u16, "00 03 61 62 63");
    assert_int_equal(data.len, 3);
    check_garbage(u16);
}

static void test_datagram(void **state)
{
    (void)state;
    struct tg_error err;
    uint8_t in[32], out[TG_UDP_HEAD_MAX];
    size_t n = check_hex("00 00 00 01 7f 00 00 01 00 35 61 62", in);
    for (size_t cut = 0; cut < 10; cut++)
        assert_int_equal(check_run(datagram, in, cut, &err), TG_PROTOCOL);
    for (size_t cut = 10; cut <= n; cut++)
        assert_int_equal(check_run(datagram, in, cut, &err), cut);
    assert_int_equal(datagram(in, n, &err), n);
    assert_target("127.0.0.1:53");
    assert_memory_equal(frame.data.data, "ab", 2);
    assert_int_equal(tg_udp_datagram_head_encode(&frame.target, out, sizeof(out)), 10);
    assert_memory_equal(out, in, 10);
    check_garbage(datagram);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tun),
        cmocka_unit_test(test_u16),
        cmocka_unit_test(test_datagram),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
