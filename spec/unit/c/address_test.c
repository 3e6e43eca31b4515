#include "codec_check.h"

#include "codec/address.h"

#include <netinet/in.h>

static struct tg_target target;

static ssize_t decode(const uint8_t *in, size_t len, struct tg_error *err)
{
    return tg_socks_address_decode(in, len, &target, err);
}

static const char *text_of(const struct tg_target *t)
{
    static char text[TG_TARGET_TEXT + 1];
    text[tg_target_text(t, text)] = 0;
    return text;
}

static void test_text_there_and_back(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        enum tg_host_kind kind;
        const char *out;
    } rows[] = {
        { "192.0.2.1:80", TG_HOST_IPV4, "192.0.2.1:80" },
        { "0.0.0.0:0", TG_HOST_IPV4, "0.0.0.0:0" },
        { "255.255.255.255:65535", TG_HOST_IPV4, "255.255.255.255:65535" },
        { "[192.0.2.1]:80", TG_HOST_IPV4, "192.0.2.1:80" },
        { "[2001:DB8::1]:443", TG_HOST_IPV6, "[2001:db8::1]:443" },
        { "[::]:1", TG_HOST_IPV6, "[::]:1" },
        { "[::ffff:192.0.2.1]:443", TG_HOST_IPV4, "192.0.2.1:443" },
        { "example.com:443", TG_HOST_NAME, "example.com:443" },
        { "192.0.2.01:80", TG_HOST_NAME, "192.0.2.01:80" },
        { "192.0.2.256:80", TG_HOST_NAME, "192.0.2.256:80" },
        { "1.2.3:80", TG_HOST_NAME, "1.2.3:80" },
        { "1.2.3.4.:80", TG_HOST_NAME, "1.2.3.4.:80" },
        { "[fe80::1%eth0]:22", TG_HOST_NAME, "[fe80::1%eth0]:22" },
        { ":8080", TG_HOST_EMPTY, ":8080" },
        { "[]:8080", TG_HOST_EMPTY, ":8080" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tg_target t;
        assert_int_equal(tg_target_parse(&t, rows[i].in, strlen(rows[i].in)), 0);
        assert_int_equal(t.kind, rows[i].kind);
        assert_string_equal(text_of(&t), rows[i].out);
    }
}

static void test_text_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "", "example.com", "example.com:", "example.com:x", "example.com:65536", "a:-1", "a:+1",
        "a:000080", "::1:80", "a:1:2", "[::1", "[::1]", "[::1]80", "[::1]:", "[", ":", "a: 80",
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tg_target t;
        assert_int_equal(tg_target_parse(&t, rows[i], strlen(rows[i])), TG_INVALID);
    }
    char longest[TG_HOST_MAX + 3];
    struct tg_target t;
    memset(longest, 'a', sizeof(longest));
    memcpy(longest + 255, ":1", 2);
    assert_int_equal(tg_target_parse(&t, longest, 257), 0);
    memcpy(longest + 255, "a:1", 3);
    assert_int_equal(tg_target_parse(&t, longest, 258), TG_LIMIT);
}

static void test_default_port(void **state)
{
    (void)state;
    struct tg_span host;
    const char *detail;
    static const struct {
        const char *in, *host;
        int port;
    } rows[] = {
        { "example.com", "example.com", 80 }, { "::1", "::1", 80 },   { "[::1]", "::1", 80 },
        { "[::1]:8", "::1", 8 },              { "", "", 80 },         { "a:0", "a", 0 },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int port = 80;
        assert_int_equal(
            tg_target_split(rows[i].in, strlen(rows[i].in), &host, &port, &detail), 0);
        assert_int_equal(port, rows[i].port);
        assert_int_equal(host.len, strlen(rows[i].host));
        assert_memory_equal(host.data, rows[i].host, host.len);
    }
}

static void test_socks_form(void **state)
{
    (void)state;
    static const struct {
        const char *hex, *text;
    } rows[] = {
        { "01 08 08 08 08 00 35", "8.8.8.8:53" },
        { "03 0b 65 78 61 6d 70 6c 65 2e 63 6f 6d 01 bb", "example.com:443" },
        { "04 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 01 00 50", "[2001:db8::1]:80" },
        { "03 00 1f 40", ":8000" },
        { "04 00 00 00 00 00 00 00 00 00 00 ff ff c0 00 02 01 00 50", "[::ffff:192.0.2.1]:80" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        check_message_hex(decode, rows[i].hex);
        assert_string_equal(text_of(&target), rows[i].text);
        uint8_t want[64], out[64];
        size_t n = check_hex(rows[i].hex, want);
        assert_int_equal(tg_socks_address_encode(&target, TG_EMPTY_AS_NAME, out, sizeof(out)), n);
        assert_memory_equal(out, want, n);
        for (size_t size = 0; size < n; size++)
            assert_int_equal(tg_socks_address_encode(&target, TG_EMPTY_AS_NAME, out, size),
                             TG_LIMIT);
    }
    uint8_t out[16];
    struct tg_target none = { .kind = TG_HOST_EMPTY, .port = 8000 };
    assert_int_equal(tg_socks_address_encode(&none, TG_EMPTY_AS_IPV4, out, sizeof(out)), 7);
    assert_memory_equal(out, "\1\0\0\0\0\x1f\x40", 7);
}

static void test_socks_form_refused(void **state)
{
    (void)state;
    check_refused_hex(decode, "00 01 02 03", TG_PROTOCOL);
    check_refused_hex(decode, "02", TG_PROTOCOL);
    check_refused_hex(decode, "05 01", TG_PROTOCOL);
    check_refused_hex(decode, "03 03 61 0d 62 00 50", TG_PROTOCOL);
    check_refused_hex(decode, "03 03 61 00 62 00 50", TG_PROTOCOL);
    check_garbage(decode);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_there_and_back), cmocka_unit_test(test_text_refused),
        cmocka_unit_test(test_default_port),        cmocka_unit_test(test_socks_form),
        cmocka_unit_test(test_socks_form_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
