#include "codec_check.h"

#include "codec/client_hello.h"

static struct tg_client_hello hello;

static ssize_t decode(const uint8_t *in, size_t len, struct tg_error *err)
{
    return tg_client_hello_decode(in, len, &hello, err);
}

#define NAME "0000 0010 000e 00 000b 6578616d706c652e636f6d " /* example.com */
#define PROTOCOLS "0010 000e 000c 026832 08687474702f312e31 " /* h2, http/1.1 */
#define VERSIONS "002b 0007 06 6a6a 0304 0303 "
#define UNKNOWN "fe0d 0003 010203 "

/* A ClientHello with these extensions ("": none at all). @return its bytes, no record around */
static size_t build(const char *extensions, uint8_t *out)
{
    uint8_t body[1024];
    size_t n = check_hex("0303", body);
    memset(body + n, 0x55, 32);
    n += 32;
    n += check_hex("04 01020304 0004 1301 1302 01 00", body + n);
    size_t size = check_hex(extensions, body + n + 2);
    if (extensions[0] != 0) {
        body[n++] = (uint8_t)(size >> 8);
        body[n++] = (uint8_t)size;
        n += size;
    }
    out[0] = 1;
    out[1] = 0;
    out[2] = (uint8_t)(n >> 8);
    out[3] = (uint8_t)n;
    memcpy(out + 4, body, n);
    return n + 4;
}

/* Put it into records of at most `piece` bytes. */
static size_t wrap(const uint8_t *message, size_t len, size_t piece, uint8_t *out)
{
    size_t n = 0;
    for (size_t at = 0; at < len; at += piece) {
        size_t some = len - at < piece ? len - at : piece;
        memcpy(out + n, "\x16\3\1", 3);
        out[n + 3] = (uint8_t)(some >> 8);
        out[n + 4] = (uint8_t)some;
        memcpy(out + n + 5, message + at, some);
        n += 5 + some;
    }
    return n;
}

static void assert_span(struct tg_span s, const char *text)
{
    assert_int_equal(s.len, strlen(text));
    assert_memory_equal(s.data, text, s.len);
}

static void test_everything(void **state)
{
    (void)state;
    static const size_t pieces[] = { 16384, 1, 2, 3, 7, 50 };
    uint8_t message[1024], in[8192];
    size_t len = build(UNKNOWN NAME PROTOCOLS VERSIONS, message);
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        check_message(decode, in, wrap(message, len, pieces[i], in));
        assert_string_equal(hello.name, "example.com");
        assert_int_equal(hello.version, 0x0303);
        assert_int_equal(hello.alpn_count, 2);
        assert_span(hello.alpn[0], "h2");
        assert_span(hello.alpn[1], "http/1.1");
        assert_int_equal(hello.version_count, 2);
        assert_int_equal(hello.versions[0], 0x0304);
    }
}

static void test_little(void **state)
{
    (void)state;
    uint8_t message[1024], in[2048];
    check_message(decode, in, wrap(message, build("", message), 16384, in));
    assert_int_equal(hello.name_len, 0);
    assert_int_equal(hello.alpn_count, 0);
    check_message(decode, in, wrap(message, build(UNKNOWN, message), 16384, in));
    assert_string_equal(hello.name, "");
}

static void refused(const char *extensions)
{
    uint8_t message[1024], in[2048];
    size_t n = wrap(message, build(extensions, message), 16384, in);
    check_refused(decode, in, n, TG_PROTOCOL);
}

static void test_refused(void **state)
{
    (void)state;
    refused("0000 0010 000f 00 000b 6578616d706c652e636f6d"); /* list longer than the extension */
    refused("0000 0010 000e 00 000c 6578616d706c652e636f6d"); /* name longer than the list */
    refused("0000 0005 0003 00 0000");                        /* no bytes */
    refused("0000 0006 0004 00 0001 0a");                     /* a line feed */
    refused("0000 0006 0004 01 0001 61");                     /* no host name */
    refused(NAME NAME);
    refused("0010 0004 0002 05 61");
    refused("0010");
    refused("002b 0001 06");
    check_refused_hex(decode, "17 03 03 00 05", TG_PROTOCOL);
    check_refused_hex(decode, "16 02 00 00 05", TG_PROTOCOL);
    check_refused_hex(decode, "16 03 01 00 00", TG_PROTOCOL);
    check_refused_hex(decode, "16 03 01 40 01", TG_PROTOCOL);
    check_refused_hex(decode, "16 03 01 00 10 02", TG_PROTOCOL);
    check_refused_hex(decode, "16 03 01 00 10 01 02 00 00", TG_PROTOCOL);
    check_refused_hex(decode, "16 03 01 00 04 01 00 00 21", TG_PROTOCOL);
    check_garbage(decode);
}

static void test_limits(void **state)
{
    (void)state;
    static uint8_t in[TG_CLIENT_HELLO_MAX + 64], message[50000];
    struct tg_error err;
    size_t len = build("", message);
    /* one unknown extension of 45,000 bytes, over three records */
    size_t size = 45004, total = len - 4 + 2 + size;
    message[1] = (uint8_t)(total >> 16);
    message[2] = (uint8_t)(total >> 8);
    message[3] = (uint8_t)total;
    check_hex("afcc fe0d afc8", message + len);
    size_t n = wrap(message, 4 + total, 16384, in);
    assert_int_equal(check_run(decode, in, n, &err), n);
    for (size_t cut = 0; cut < n; cut += 97)
        assert_int_equal(check_run(decode, in, cut, &err), TG_AGAIN);
    /* records of one byte each are too many */
    n = wrap(message, sizeof(in) / 6, 1, in);
    memset(in + n, 0x16, sizeof(in) - n);
    assert_int_equal(check_run(decode, in, TG_CLIENT_HELLO_MAX - 10, &err), TG_AGAIN);
    assert_int_equal(check_run(decode, in, TG_CLIENT_HELLO_MAX, &err), TG_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything),
        cmocka_unit_test(test_little),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
