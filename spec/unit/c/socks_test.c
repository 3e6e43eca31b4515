#include "codec_check.h"

#include "codec/socks.h"

static struct tg_span methods;
static struct tg_socks5_auth auth;
static struct tg_socks5_message message;
static struct tg_socks4_request request4;
static uint8_t byte;

static ssize_t greeting(const uint8_t *in, size_t len, struct tg_error *err)
{
    return tg_socks5_greeting_decode(in, len, &methods, err);
}

static ssize_t choice(const uint8_t *in, size_t len, struct tg_error *err)
{
    return tg_socks5_choice_decode(in, len, &byte, err);
}

static ssize_t authentication(const uint8_t *in, size_t len, struct tg_error *err)
{
    return tg_socks5_auth_decode(in, len, &auth, err);
}

static ssize_t auth_reply(const uint8_t *in, size_t len, struct tg_error *err)
{
    return tg_socks5_auth_reply_decode(in, len, &byte, err);
}

static ssize_t request(const uint8_t *in, size_t len, struct tg_error *err)
{
    return tg_socks5_request_decode(in, len, &message, err);
}

static ssize_t reply(const uint8_t *in, size_t len, struct tg_error *err)
{
    return tg_socks5_reply_decode(in, len, &message, err);
}

static ssize_t old_request(const uint8_t *in, size_t len, struct tg_error *err)
{
    return tg_socks4_request_decode(in, len, &request4, err);
}

static ssize_t old_reply(const uint8_t *in, size_t len, struct tg_error *err)
{
    return tg_socks4_reply_decode(in, len, &byte, err);
}

static void assert_host(const struct tg_target *t, const char *host, unsigned port)
{
    char text[TG_HOST_TEXT + 1];
    text[tg_target_host_text(t, text)] = 0;
    assert_string_equal(text, host);
    assert_int_equal(t->port, port);
}

static void test_greeting(void **state)
{
    (void)state;
    check_message_hex(greeting, "05 02 00 80");
    check_message_hex(greeting, "05 04 00 02 80 82");
    check_message_hex(greeting, "05 00");
    check_refused_hex(greeting, "04 01 00", TG_PROTOCOL);
    check_refused(greeting, "GET / HTTP/1.1\r\n", 16, TG_PROTOCOL);
    uint8_t out[300];
    struct tg_span some = { (const uint8_t *)"\0\2\x80\x82", 4 };
    assert_int_equal(tg_socks5_greeting_encode(some, out, sizeof(out)), 6);
    assert_memory_equal(out, "\5\4\0\2\x80\x82", 6);
    check_message_hex(choice, "05 ff");
    assert_int_equal(byte, 0xff);
    check_refused_hex(choice, "48 54", TG_PROTOCOL);
    check_garbage(greeting);
}

static void test_authentication(void **state)
{
    (void)state;
    struct tg_error err;
    const uint8_t in[] = "\1\4user\4pass";
    check_message(authentication, in, sizeof(in) - 1);
    assert_int_equal(tg_socks5_auth_decode(in, sizeof(in) - 1, &auth, &err), 11);
    assert_int_equal(auth.user.len, 4);
    assert_memory_equal(auth.user.data, "user", 4);
    assert_int_equal(auth.pass.len, 4);
    assert_memory_equal(auth.pass.data, "pass", 4);
    uint8_t out[TG_SOCKS5_AUTH_MAX];
    assert_int_equal(tg_socks5_auth_encode(&auth, out, sizeof(out)), 11);
    assert_memory_equal(out, in, 11);
    check_message_hex(authentication, "01 00 00");
    check_refused_hex(authentication, "05 00 00", TG_PROTOCOL);
    check_message_hex(auth_reply, "01 01");
    assert_int_equal(byte, 1);
    check_garbage(authentication);
}

static void test_requests(void **state)
{
    (void)state;
    check_message_hex(request, "05 f2 00 01 00 00 00 00 1f 40");
    assert_int_equal(message.code, TG_SOCKS5_MBIND);
    assert_host(&message.target, "0.0.0.0", 8000);
    check_message_hex(request, "05 01 00 03 0b 65 78 61 6d 70 6c 65 2e 63 6f 6d 01 bb");
    assert_int_equal(message.code, TG_SOCKS5_CONNECT);
    assert_host(&message.target, "example.com", 443);
    check_message_hex(request, "05 03 77 04 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 01 00 50");
    assert_host(&message.target, "2001:db8::1", 80);
    check_refused_hex(request, "04 01 00 01", TG_PROTOCOL);
    check_refused_hex(request, "05 01 00 05 00", TG_PROTOCOL);
    check_refused_hex(request, "05 01 00 03 02 0d 0a 00 50", TG_PROTOCOL);
    check_garbage(request);
}

static void test_replies(void **state)
{
    (void)state;
    check_message_hex(reply, "05 00 00 01 7f 00 00 01 1f 40");
    assert_int_equal(message.code, 0);
    assert_host(&message.target, "127.0.0.1", 8000);
    check_message_hex(reply, "05 05 00 00");
    assert_int_equal(message.code, 5);
    assert_host(&message.target, "", 0);
    check_refused_hex(reply, "05 00 00 00 00 00", TG_PROTOCOL);
    uint8_t out[TG_SOCKS5_MESSAGE_MAX];
    struct tg_socks5_message refusal = { .code = 2 };
    assert_int_equal(tg_socks5_message_encode(&refusal, out, sizeof(out)), 10);
    assert_memory_equal(out, "\5\2\0\1\0\0\0\0\0\0", 10);
    check_garbage(reply);
}

static void test_socks4(void **state)
{
    (void)state;
    const char *named = "04 01 01 bb 00 00 00 01 75 73 65 72 00 "
                        "65 78 61 6d 70 6c 65 2e 63 6f 6d 00";
    check_message_hex(old_request, named);
    assert_host(&request4.target, "example.com", 443);
    check_message_hex(old_request, "04 02 00 50 c0 00 02 01 00");
    assert_int_equal(request4.command, 2);
    assert_host(&request4.target, "192.0.2.1", 80);
    check_message_hex(old_request, "04 01 00 50 00 00 00 00 00");
    assert_host(&request4.target, "0.0.0.0", 80);
    check_refused_hex(old_request, "05 01 00", TG_PROTOCOL);
    check_refused_hex(old_request, "04 01 00 50 00 00 00 01 00 00", TG_PROTOCOL);
    check_refused_hex(old_request, "04 01 00 50 00 00 00 01 00 0a 00", TG_PROTOCOL);
    check_garbage(old_request);

    uint8_t want[64], out[TG_SOCKS4_REQUEST_MAX];
    struct tg_socks4_request r = { .command = 1, .user = { (const uint8_t *)"user", 4 } };
    assert_int_equal(tg_target_parse(&r.target, "example.com:443", 15), 0);
    size_t n = check_hex(named, want);
    assert_int_equal(tg_socks4_request_encode(&r, true, out, sizeof(out)), n);
    assert_memory_equal(out, want, n);
    assert_int_equal(tg_target_parse(&r.target, "192.0.2.1:443", 13), 0);
    assert_int_equal(tg_socks4_request_encode(&r, false, out, sizeof(out)), 13);
    assert_memory_equal(out, "\4\1\1\xbb\xc0\0\2\1user", 13);
    r.user = (struct tg_span){ (const uint8_t *)"a\0b", 3 };
    assert_int_equal(tg_socks4_request_encode(&r, false, out, sizeof(out)), TG_INVALID);
}

static void test_socks4_limits(void **state)
{
    (void)state;
    uint8_t in[TG_SOCKS4_REQUEST_MAX + 8];
    memset(in, 'a', sizeof(in));
    memcpy(in, "\4\1\0\120\0\0\0\1", 8);
    check_refused(old_request, in, sizeof(in), TG_LIMIT);
    in[8 + 255] = 0;
    check_refused(old_request, in, sizeof(in), TG_LIMIT);
    in[8 + 256 + 255] = 0;
    check_message(old_request, in, TG_SOCKS4_REQUEST_MAX);
}

static void test_socks4_reply(void **state)
{
    (void)state;
    check_message_hex(old_reply, "00 5a 00 00 00 00 00 00");
    assert_int_equal(byte, TG_SOCKS4_GRANTED);
    check_refused_hex(old_reply, "48 54 54 50 2f 31 2e 31", TG_PROTOCOL);
    check_garbage(old_reply);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greeting),      cmocka_unit_test(test_authentication),
        cmocka_unit_test(test_requests),      cmocka_unit_test(test_replies),
        cmocka_unit_test(test_socks4),        cmocka_unit_test(test_socks4_limits),
        cmocka_unit_test(test_socks4_reply),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
