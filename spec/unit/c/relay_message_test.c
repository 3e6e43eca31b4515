#include "codec_check.h"

#include "codec/relay_message.h"

static struct tg_relay_message message;
static uint8_t kept[4096];

static ssize_t decode(const uint8_t *in, size_t len, struct tg_error *err)
{
    return tg_relay_message_decode(in, len, &message, err);
}

static void assert_span(struct tg_span s, const char *text)
{
    assert_non_null(s.data);
    assert_int_equal(s.len, strlen(text));
    assert_memory_equal(s.data, text, s.len);
}

static void assert_target(const struct tg_target *t, const char *text)
{
    char got[TG_TARGET_TEXT + 1];
    got[tg_target_text(t, got)] = 0;
    assert_string_equal(got, text);
}

/* Cut everywhere, decode for good, encode to the same bytes. */
static void there_and_back(const char *hex)
{
    struct tg_error err;
    uint8_t out[4096];
    size_t n = check_hex(hex, kept);
    check_message(decode, kept, n);
    assert_int_equal(tg_relay_message_decode(kept, n, &message, &err), n);
    assert_int_equal(tg_relay_message_encode(&message, out, sizeof(out)), n);
    assert_memory_equal(out, kept, n);
    for (size_t size = 0; size < n; size++)
        assert_int_equal(tg_relay_message_encode(&message, out, size), TG_LIMIT);
}

static void test_connect(void **state)
{
    (void)state;
    there_and_back("01 01 00 1f 01 00 0a 04 75 73 65 72 04 70 61 73 73 "
                   "02 00 0f 03 0b 65 78 61 6d 70 6c 65 2e 63 6f 6d 01 bb");
    assert_int_equal(message.code, TG_RELAY_CONNECT);
    assert_span(message.user, "user");
    assert_span(message.pass, "pass");
    assert_false(message.has_network);
    assert_int_equal(message.address_count, 1);
    assert_target(&message.addresses[0], "example.com:443");

    there_and_back("01 81 00 0f 04 00 02 00 01 02 00 07 01 08 08 08 08 00 35");
    assert_int_equal(message.code, TG_RELAY_CONNECT | TG_RELAY_UDP);
    assert_int_equal(message.network, TG_RELAY_NET_UDP);

    there_and_back("01 01 00 17 04 00 02 00 10 02 00 0f "
                   "03 0b 2f 72 75 6e 2f 61 2e 73 6f 63 6b 00 00");
    assert_int_equal(message.network, TG_RELAY_UNIX);
    assert_target(&message.addresses[0], "/run/a.sock:0");
}

static void test_bind_and_others(void **state)
{
    (void)state;
    there_and_back("01 02 00 0f 04 00 02 00 00 02 00 07 01 00 00 00 00 1f 40");
    assert_true(message.has_network);
    there_and_back("01 82 00 0f 04 00 02 00 01 02 00 07 01 00 00 00 00 00 00");
    there_and_back("01 02 00 37 02 00 07 01 0a 00 00 05 c3 50 02 00 13 03 0f 61 70 70 2e 65 78 61 "
                   "6d 70 6c 65 2e 63 6f 6d 00 00 03 00 14 b0 a1 c2 d3 00 00 40 00 80 00 00 00 00 "
                   "00 00 2a 00 00 00 59");
    assert_int_equal(message.address_count, 2);
    assert_target(&message.addresses[0], "10.0.0.5:50000");
    assert_target(&message.addresses[1], "app.example.com:0");
    assert_int_equal(message.tunnel.len, 20);
    there_and_back("01 03 00 30 04 00 02 00 02 02 00 07 01 7f 00 00 01 00 00 02 00 07 01 c0 a8 7b "
                   "02 00 00 03 00 14 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f 10 11 12 13");
    there_and_back("01 01 00 17 05 00 14 00 01 00 0b 72 65 63 6f 72 64 2e 6d 6f 64 65 00 03 6f 66 66");
    assert_int_equal(message.metadata_count, 1);
    assert_span(message.metadata[0].key, "record.mode");
    assert_span(message.metadata[0].value, "off");
}

static void test_responses(void **state)
{
    (void)state;
    there_and_back("01 00 00 00");
    assert_int_equal(message.address_count, 0);
    there_and_back("01 07 00 00");
    assert_int_equal(message.code, TG_RELAY_NETWORK_UNREACHABLE);
    there_and_back("01 00 00 0a 02 00 07 01 0a 00 00 02 1f 40");
    assert_target(&message.addresses[0], "10.0.0.2:8000");
    there_and_back("01 00 00 20 02 00 07 01 cb 00 71 09 a0 28 02 00 13 03 0f 61 70 70 2e 65 78 61 "
                   "6d 70 6c 65 2e 63 6f 6d 01 bb");
    assert_target(&message.addresses[1], "app.example.com:443");
}

static void test_tolerated(void **state)
{
    (void)state;
    /* an unknown feature, an empty domain, a later user, a malformed host of gost */
    check_message_hex(decode, "01 01 00 0e 99 00 01 aa 02 00 04 03 00 1f 40 99 00 00");
    assert_target(&message.addresses[0], ":8000");
    check_message_hex(decode, "01 01 00 0a 01 00 02 00 00 01 00 02 00 00");
    assert_true(message.has_auth);
    check_message_hex(decode, "01 02 00 14 02 00 11 03 0d 30 2e 30 2e 30 2e 30 3a 3a 38 30 30 30 00 00");
    check_message_hex(decode, "01 01 00 13 03 00 10 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f");
    assert_int_equal(message.tunnel.len, 16);
    check_message_hex(decode, "01 01 00 05 04 00 02 77 77");
    assert_int_equal(message.network, 0x7777);
}

static void test_refused(void **state)
{
    (void)state;
    check_refused_hex(decode, "00 01 00 00", TG_PROTOCOL);
    check_refused_hex(decode, "05 01 00", TG_PROTOCOL);
    check_refused_hex(decode, "01 01 00 01 02", TG_PROTOCOL);
    check_refused_hex(decode, "01 01 00 03 02 00 01", TG_PROTOCOL);
    check_refused_hex(decode, "01 01 00 04 01 00 01 00", TG_PROTOCOL);
    check_refused_hex(decode, "01 01 00 05 01 00 02 00 01", TG_PROTOCOL);
    check_refused_hex(decode, "01 01 00 05 01 00 02 05 00", TG_PROTOCOL);
    check_refused_hex(decode, "01 01 00 08 02 00 05 01 08 08 08 08", TG_PROTOCOL);
    check_refused_hex(decode, "01 01 00 04 02 00 01 07", TG_PROTOCOL);
    check_refused_hex(decode, "01 01 00 05 03 00 02 00 00", TG_PROTOCOL);
    check_refused_hex(decode, "01 01 00 04 04 00 01 00", TG_PROTOCOL);
    check_refused_hex(decode, "01 01 00 08 05 00 05 00 01 00 05 61", TG_PROTOCOL);
    check_refused_hex(decode, "01 01 00 05 05 00 02 00 15", TG_LIMIT);
    check_refused_hex(decode, "01 01 00 23 02 00 04 03 00 00 00 02 00 04 03 00 00 00 02 00 04 03 00 "
                              "00 00 02 00 04 03 00 00 00 02 00 04 03 00 00 00", TG_LIMIT);
    check_garbage(decode);
}

static void test_too_long_to_encode(void **state)
{
    (void)state;
    static uint8_t big[256], out[2048];
    struct tg_relay_message m = { .code = 1, .has_auth = true };
    m.user = (struct tg_span){ big, 256 };
    assert_int_equal(tg_relay_message_encode(&m, out, sizeof(out)), TG_LIMIT);
    m.user.len = 255;
    assert_true(tg_relay_message_encode(&m, out, sizeof(out)) > 0);
    m.tunnel = (struct tg_span){ big, 15 };
    assert_int_equal(tg_relay_message_encode(&m, out, sizeof(out)), TG_LIMIT);
    m.tunnel.data = NULL;
    m.metadata_count = 1;
    m.metadata[0].value = (struct tg_span){ big, 256 };
    assert_int_equal(tg_relay_message_encode(&m, out, sizeof(out)), TG_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connect),   cmocka_unit_test(test_bind_and_others),
        cmocka_unit_test(test_responses), cmocka_unit_test(test_tolerated),
        cmocka_unit_test(test_refused),   cmocka_unit_test(test_too_long_to_encode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
