#include "codec_check.h"

#include "codec/proxy_header.h"

static struct tg_proxy_header header;

static ssize_t decode(const uint8_t *in, size_t len, struct tg_error *err)
{
    return tg_proxy_header_decode(in, len, &header, err);
}

static void assert_target(const struct tg_target *t, const char *text)
{
    char got[TG_TARGET_TEXT + 1];
    got[tg_target_text(t, got)] = 0;
    assert_string_equal(got, text);
}

static void good(const char *text)
{
    check_message(decode, text, strlen(text));
}

#define SIGNATURE "0d0a0d0a000d0a515549540a "

static void test_version_1(void **state)
{
    (void)state;
    good("PROXY TCP4 192.0.2.1 198.51.100.7 51234 443\r\n");
    assert_int_equal(header.kind, TG_PROXY_PROXY);
    assert_target(&header.src, "192.0.2.1:51234");
    assert_target(&header.dst, "198.51.100.7:443");
    good("PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n");
    assert_target(&header.dst, "[2001:db8::2]:65535");
    good("PROXY UNKNOWN\r\n");
    assert_int_equal(header.kind, TG_PROXY_LOCAL);
    good("PROXY UNKNOWN ffff::1 whatever\r\n");
    static const char *const rows[] = {
        "PROXY \r\n", "PROXY TCP4\r\n", "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n",
        "PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n", "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n", "PROXY \n",
        "PROXY UNKNOWNX\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        check_refused(decode, rows[i], strlen(rows[i]), TG_PROTOCOL);
    char endless[TG_PROXY_V1_MAX + 8];
    memset(endless, 'a', sizeof(endless));
    memcpy(endless, "PROXY UNKNOWN ", 14);
    check_refused(decode, endless, sizeof(endless), TG_PROTOCOL);
    memcpy(endless + TG_PROXY_V1_MAX - 2, "\r\n", 2);
    check_message(decode, endless, TG_PROXY_V1_MAX);
}

static void test_version_2(void **state)
{
    (void)state;
    check_message_hex(decode, SIGNATURE "21 11 000c c0000201 c6336407 c822 01bb");
    assert_target(&header.src, "192.0.2.1:51234");
    assert_target(&header.dst, "198.51.100.7:443");
    assert_false(header.udp);
    check_message_hex(decode, SIGNATURE "21 12 0010 c0000201 c6336407 c822 01bb 04000100");
    assert_true(header.udp);
    assert_int_equal(header.tlvs.len, 4);
    check_message_hex(decode, SIGNATURE "21 21 0024 20010db8000000000000000000000001"
                                        "20010db8000000000000000000000002 0001 0002");
    assert_target(&header.src, "[2001:db8::1]:1");
    check_message_hex(decode, SIGNATURE "20 00 0000");
    assert_int_equal(header.kind, TG_PROXY_LOCAL);
    check_message_hex(decode, SIGNATURE "20 11 0003 010203");
    assert_int_equal(header.kind, TG_PROXY_LOCAL);
    check_message_hex(decode, SIGNATURE "21 00 0001 00");
    assert_int_equal(header.kind, TG_PROXY_LOCAL);
    check_refused_hex(decode, SIGNATURE "22 11 000c", TG_PROTOCOL);
    check_refused_hex(decode, SIGNATURE "11 11 000c", TG_PROTOCOL);
    check_refused_hex(decode, SIGNATURE "21 11 000b c0000201 c6336407 c822 01", TG_PROTOCOL);
    check_refused_hex(decode, SIGNATURE "21 13 0000", TG_PROTOCOL);
    check_refused_hex(decode, SIGNATURE "21 11 0ff1", TG_LIMIT);
    uint8_t big[TG_PROXY_V2_MAX] = { 0 };
    size_t n = check_hex(SIGNATURE "21 11 0ff0", big);
    memset(big + n, 1, sizeof(big) - n);
    check_message(decode, big, sizeof(big));
}

static void none(const char *text)
{
    struct tg_error err;
    size_t len = strlen(text), cut = 0;
    while (check_run(decode, text, cut, &err) == TG_AGAIN)
        cut++;
    for (; cut <= len; cut++) {
        assert_int_equal(check_run(decode, text, cut, &err), 0);
        assert_int_equal(header.kind, TG_PROXY_NONE);
    }
}

static void test_none(void **state)
{
    (void)state;
    none("GET / HTTP/1.1\r\n");
    none("POST / HTTP/1.1\r\n");
    none("PROXYING");
    none("\x16\x03\x01");
    none("\r\n\r\nGET / HTTP/1.1\r\n");
    check_garbage(decode);
}

static ssize_t encode(int version, const char *src, const char *dst, bool udp, uint8_t *out)
{
    struct tg_proxy_header h = { .kind = TG_PROXY_PROXY, .version = (uint8_t)version, .udp = udp };
    assert_int_equal(tg_target_parse(&h.src, src, strlen(src)), 0);
    assert_int_equal(tg_target_parse(&h.dst, dst, strlen(dst)), 0);
    return tg_proxy_header_encode(&h, out, TG_PROXY_ENCODED_MAX);
}

static void assert_text(const uint8_t *out, ssize_t n, const char *text)
{
    assert_int_equal(n, strlen(text));
    assert_memory_equal(out, text, n);
}

static void test_encode(void **state)
{
    (void)state;
    uint8_t out[TG_PROXY_ENCODED_MAX], want[64];
    ssize_t n = encode(1, "192.0.2.1:51234", "198.51.100.7:443", false, out);
    assert_text(out, n, "PROXY TCP4 192.0.2.1 198.51.100.7 51234 443\r\n");
    n = encode(1, "[2001:db8::1]:1", "192.0.2.1:2", false, out);
    assert_text(out, n, "PROXY TCP6 2001:db8::1 192.0.2.1 1 2\r\n");
    n = encode(1, "name:1", "[::]:2", false, out);
    assert_text(out, n, "PROXY TCP4 0.0.0.0 0.0.0.0 1 2\r\n");
    n = encode(1, "192.0.2.1:1", "192.0.2.1:2", true, out);
    assert_text(out, n, "PROXY UNKNOWN\r\n");
    assert_int_equal(encode(1, "192.0.2.1:1", "[::1]:2", false, out), TG_INVALID);
    assert_int_equal(encode(2, "192.0.2.1:1", "[::1]:2", false, out), TG_INVALID);

    n = encode(2, "192.0.2.1:51234", "198.51.100.7:443", false, out);
    assert_int_equal(n, check_hex(SIGNATURE "21 11 000c c0000201 c6336407 c822 01bb", want));
    assert_memory_equal(out, want, n);
    n = encode(2, "[2001:db8::1]:1", "192.0.2.1:2", true, out);
    assert_int_equal(n, check_hex(SIGNATURE "21 22 0024 20010db8000000000000000000000001"
                                            "00000000000000000000ffffc0000201 0001 0002", want));
    assert_memory_equal(out, want, n);
    struct tg_proxy_header local = { .kind = TG_PROXY_LOCAL, .version = 2 };
    n = tg_proxy_header_encode(&local, out, sizeof(out));
    assert_int_equal(n, check_hex(SIGNATURE "20 00 0000", want));
    assert_memory_equal(out, want, n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version_1),
        cmocka_unit_test(test_version_2),
        cmocka_unit_test(test_none),
        cmocka_unit_test(test_encode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
