/** @file
 * Records of TLS 1.3 and what they mean after the handshake: keys by the example of RFC 8448, whatever a peer
 * may send in whatever pieces, and what it may not.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "stream/tls_traffic.h"

#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

static size_t unhex(const char *text, uint8_t *out)
{
    size_t n = 0;
    for (; *text != '\0'; text += text[2] == ' ' ? 3 : 2)
        out[n++] = (uint8_t)strtoul((char[]){ text[0], text[1], 0 }, NULL, 16);
    return n;
}

/* RFC 8448, 3: the client's first record of data. */
static void test_example_of_the_rfc(void **state)
{
    static const char secret_text[] = "9e 40 64 6c e7 9a 7f 9d c0 5a f8 88 9b ce 65 52 87 5a fa 0b "
                                      "06 df 00 87 f7 92 eb b7 c1 75 04 a5";
    static const char record_text[] = "17 03 03 00 43 a2 3f 70 54 b6 2c 94 d0 af fa fe 82 28 ba 55 cb ef ac ea 42 f9 "
                                      "14 aa 66 bc ab 3f 2b 98 19 a8 a5 b4 6b 39 5b d5 4a 9a 20 44 1e 2b 62 97 4e 1f "
                                      "5a 62 92 a2 97 70 14 bd 1e 3d ea e6 3a ee bb 21 69 49 15 e4";
    uint8_t secret[64], want[128], data[50], out[128], type;
    struct tg_tls_keys k;
    (void)state;
    size_t len = unhex(record_text, want), secret_len = unhex(secret_text, secret);
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)i;
    assert_true(tg_tls_keys_open(&k, 0x1301, secret, secret_len, 0));
    struct iovec parts[] = { { data, 20 }, { data + 20, 30 } };
    assert_int_equal(tg_tls_seal(&k, TG_TLS_DATA, parts, 2, out), len);
    assert_memory_equal(out, want, len);
    tg_tls_keys_close(&k);
    assert_true(tg_tls_keys_open(&k, 0x1301, secret, secret_len, 0));
    assert_int_equal(tg_tls_measure(want, len), len);
    assert_int_equal(tg_tls_open(&k, want, out, &type), sizeof(data));
    assert_int_equal(type, TG_TLS_DATA);
    assert_memory_equal(out, data, sizeof(data));
    tg_tls_keys_close(&k);
    assert_false(tg_tls_keys_open(&k, 0x1302, secret, secret_len, 0));
    assert_false(tg_tls_keys_open(&k, 0x1304, secret, secret_len, 0));
}

/* Who sends, and who takes it. */
struct ends {
    struct tg_tls_traffic *from, *to;
    uint8_t record[TG_TLS_WIRE_MAX + 64], out[TG_TLS_WIRE_MAX];
};

static struct tg_tls_traffic *traffic(bool server, uint16_t suite, uint64_t number)
{
    static const uint8_t a[48] = { 1 }, b[48] = { 2 };
    const struct tg_tls_start start = {
        .suite = suite, .server = server, .in = server ? a : b, .out = server ? b : a, .len = suite == 0x1302 ? 48 : 32,
        .received = server ? number : 0, .sent = server ? 0 : number,
    };
    return tg_tls_traffic_new(&start);
}

static void open_ends(struct ends *e, uint16_t suite, uint64_t number)
{
    e->from = traffic(false, suite, number);
    e->to = traffic(true, suite, number);
    assert_non_null(e->from);
    assert_non_null(e->to);
}

static void close_ends(struct ends *e)
{
    tg_tls_traffic_free(e->from);
    tg_tls_traffic_free(e->to);
}

static ssize_t take(struct tg_tls_traffic *t, const uint8_t *record, size_t len, uint8_t *out)
{
    uint8_t *exact = malloc(len);
    memcpy(exact, record, len);
    ssize_t n = tg_tls_traffic_measure(t, exact, len);
    assert_true(n < 0 || (size_t)n == len);
    if (n > 0 && (n = tg_tls_traffic_take(t, exact, exact + TG_TLS_HEAD)) > 0)
        memcpy(out, exact + TG_TLS_HEAD, (size_t)n);
    free(exact);
    return n;
}

/* One record of any kind, from the client to the server. */
static ssize_t send_as(struct ends *e, enum tg_tls_type type, const void *data, size_t len)
{
    struct iovec part = { (void *)data, len };
    return take(e->to, e->record, tg_tls_seal(&e->from->out, type, &part, 1, e->record), e->out);
}

static void assert_bad(const struct tg_tls_traffic *t, enum tg_tls_alert alert, int reason)
{
    assert_int_equal(t->state, TG_TLS_BAD);
    assert_int_equal(t->alert, alert);
    assert_int_equal(t->reason, reason);
}

static void test_data_of_any_size(void **state)
{
    static const size_t sizes[] = { 1, 15, 16, 17, 1000, 16383, 16384 };
    struct ends e;
    uint8_t data[TG_TLS_PLAIN_MAX];
    (void)state;
    memset(data, 7, sizeof(data));
    for (uint16_t suite = 0x1301; suite <= 0x1303; suite++) {
        open_ends(&e, suite, 0xfffffffe);
        for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
            assert_int_equal(send_as(&e, TG_TLS_DATA, data, sizes[i]), sizes[i]);
            assert_memory_equal(e.out, data, sizes[i]);
        }
        close_ends(&e);
    }
}

/* A record whose inner plaintext is these bytes: for what tg_tls_seal() never makes. */
static size_t seal_raw(struct ends *e, const uint8_t *inner, size_t len)
{
    struct iovec part = { (void *)inner, len - 1 };
    return tg_tls_seal(&e->from->out, inner[len - 1], &part, 1, e->record);
}

static void test_padding_is_taken_off(void **state)
{
    struct ends e;
    uint8_t inner[300] = { 'a', 'b', 0, TG_TLS_DATA };
    (void)state;
    open_ends(&e, 0x1301, 0);
    assert_int_equal(take(e.to, e.record, seal_raw(&e, inner, sizeof(inner)), e.out), 3);
    assert_memory_equal(e.out, "ab\0", 3);
    memset(inner, 0, sizeof(inner));
    assert_int_equal(take(e.to, e.record, seal_raw(&e, inner, sizeof(inner)), e.out), TG_TLS_BAD);
    assert_bad(e.to, TG_TLS_UNEXPECTED_MESSAGE, SSL_R_BAD_RECORD_TYPE);
    close_ends(&e);
}

static void test_every_bit_counts(void **state)
{
    struct ends e;
    (void)state;
    for (size_t at = 1; at < 40; at++) {
        open_ends(&e, 0x1301, 0);
        struct iovec part = { "eighteen letters..", 18 };
        size_t len = tg_tls_seal(&e.from->out, TG_TLS_DATA, &part, 1, e.record);
        assert_int_equal(len, 40);
        if (at == 3 || at == 4) { /* the length: the record that is read is another one */
            close_ends(&e);
            continue;
        }
        e.record[at] ^= 1;
        assert_int_equal(take(e.to, e.record, len, e.out), TG_TLS_BAD);
        assert_bad(e.to, TG_TLS_BAD_RECORD_MAC, SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC);
        e.record[at] ^= 1; /* and it stays so */
        assert_int_equal(take(e.to, e.record, len, e.out), TG_TLS_BAD);
        close_ends(&e);
    }
}

static void test_replayed_and_dropped_records_are_refused(void **state)
{
    struct ends e;
    uint8_t kept[64];
    (void)state;
    open_ends(&e, 0x1303, 0);
    assert_int_equal(send_as(&e, TG_TLS_DATA, "x", 1), 1);
    memcpy(kept, e.record, 23);
    assert_int_equal(take(e.to, kept, 23, e.out), TG_TLS_BAD);
    close_ends(&e);
    open_ends(&e, 0x1303, 0);
    e.from->out.number++;
    assert_int_equal(send_as(&e, TG_TLS_DATA, "x", 1), TG_TLS_BAD);
    close_ends(&e);
}

static void test_heads_that_cannot_be(void **state)
{
    static const struct {
        uint8_t head[5];
        enum tg_tls_alert alert;
    } cases[] = {
        { { 22, 3, 3, 0, 40 }, TG_TLS_UNEXPECTED_MESSAGE }, { { 20, 3, 3, 0, 1 }, TG_TLS_UNEXPECTED_MESSAGE },
        { { 21, 3, 3, 0, 2 }, TG_TLS_UNEXPECTED_MESSAGE },  { { 'G', 'E', 'T', ' ', '/' }, TG_TLS_UNEXPECTED_MESSAGE },
        { { 23, 3, 3, 0x41, 1 }, TG_TLS_RECORD_OVERFLOW },  { { 23, 3, 3, 0, 16 }, TG_TLS_BAD_RECORD_MAC },
        { { 23, 3, 3, 0, 0 }, TG_TLS_BAD_RECORD_MAC },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct tg_tls_traffic *t = traffic(true, 0x1301, 0);
        assert_int_equal(tg_tls_traffic_measure(t, cases[i].head, 5), TG_TLS_BAD);
        assert_int_equal(t->alert, cases[i].alert);
        tg_tls_traffic_free(t);
    }
    const uint8_t longest[5] = { 23, 3, 3, 0x41, 0 };
    struct tg_tls_traffic *t = traffic(true, 0x1301, 0);
    assert_int_equal(tg_tls_traffic_measure(t, longest, 5), TG_TLS_WIRE_MAX);
    for (size_t len = 0; len < 5; len++)
        assert_int_equal(tg_tls_traffic_measure(t, longest, len), 0);
    tg_tls_traffic_free(t);
}

static void test_content_has_a_limit(void **state)
{
    static uint8_t inner[TG_TLS_PLAIN_MAX + 2];
    struct ends e;
    (void)state;
    memset(inner, 'x', sizeof(inner));
    open_ends(&e, 0x1301, 0);
    inner[TG_TLS_PLAIN_MAX] = 'x';
    inner[TG_TLS_PLAIN_MAX + 1] = TG_TLS_DATA;
    /* By hand, since tg_tls_seal() would not. */
    uint8_t nonce[12], head[5] = { 23, 3, 3, (sizeof(inner) + 16) >> 8, (sizeof(inner) + 16) & 255 };
    memcpy(nonce, e.from->out.iv, sizeof(nonce));
    struct iovec part = { inner, sizeof(inner) };
    memcpy(e.record, head, 5);
    tg_aead_seal_with(e.from->out.aead, nonce, (struct tg_aead_head){ head, 5 }, &part, 1, e.record + 5);
    assert_int_equal(take(e.to, e.record, 5 + sizeof(inner) + 16, e.out), TG_TLS_BAD);
    assert_bad(e.to, TG_TLS_RECORD_OVERFLOW, SSL_R_DATA_LENGTH_TOO_LONG);
    close_ends(&e);
}

static const uint8_t request[] = { SSL3_MT_KEY_UPDATE, 0, 0, 1, 1 };

static void test_new_keys(void **state)
{
    struct ends e;
    (void)state;
    for (uint16_t suite = 0x1301; suite <= 0x1303; suite++) {
        open_ends(&e, suite, 5);
        for (int i = 0; i < 40; i++) {
            assert_false(tg_tls_traffic_due(e.from));
            size_t len = tg_tls_traffic_update(e.from, e.record);
            assert_int_equal(len, TG_TLS_UPDATE_SIZE);
            assert_int_equal(take(e.to, e.record, len, e.out), TG_TLS_NOTHING);
            assert_int_equal(e.from->out.number, 0);
            assert_false(e.to->asked);
            if (i % 3 == 0)
                assert_int_equal(send_as(&e, TG_TLS_DATA, "hello", 5), 5);
        }
        close_ends(&e);
    }
}

static void test_new_keys_are_answered_once(void **state)
{
    struct ends e;
    (void)state;
    open_ends(&e, 0x1302, 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(send_as(&e, TG_TLS_HANDSHAKE, request, 2), TG_TLS_NOTHING); /* in two pieces */
        assert_int_equal(send_as(&e, TG_TLS_HANDSHAKE, request + 2, 3), TG_TLS_NOTHING);
        tg_tls_keys_update(&e.from->out);
    }
    assert_true(tg_tls_traffic_due(e.to));
    size_t len = tg_tls_traffic_update(e.to, e.record);
    assert_false(tg_tls_traffic_due(e.to));
    assert_int_equal(take(e.from, e.record, len, e.out), TG_TLS_NOTHING);
    struct iovec part = { "back", 4 };
    assert_int_equal(take(e.from, e.record, tg_tls_seal(&e.to->out, TG_TLS_DATA, &part, 1, e.record), e.out), 4);
    close_ends(&e);
}

static void test_keys_wear_out(void **state)
{
    struct ends e;
    (void)state;
    open_ends(&e, 0x1301, TG_TLS_KEY_RECORDS - 1);
    assert_false(tg_tls_traffic_due(e.from));
    assert_int_equal(send_as(&e, TG_TLS_DATA, "last", 4), 4);
    assert_true(tg_tls_traffic_due(e.from));
    close_ends(&e);
}

static void test_what_a_peer_may_not_say(void **state)
{
    static const struct {
        uint8_t data[10];
        size_t len;
        enum tg_tls_type type;
        enum tg_tls_alert alert;
    } cases[] = {
        { { SSL3_MT_KEY_UPDATE, 0, 0, 1, 2 }, 5, TG_TLS_HANDSHAKE, TG_TLS_ILLEGAL_PARAMETER },
        { { SSL3_MT_KEY_UPDATE, 0, 0, 2, 0 }, 5, TG_TLS_HANDSHAKE, TG_TLS_DECODE_ERROR },
        { { SSL3_MT_KEY_UPDATE, 0, 0, 1, 0, SSL3_MT_KEY_UPDATE, 0, 0, 1, 0 }, 10, TG_TLS_HANDSHAKE,
          TG_TLS_UNEXPECTED_MESSAGE },
        { { SSL3_MT_FINISHED, 0, 0, 0 }, 4, TG_TLS_HANDSHAKE, TG_TLS_UNEXPECTED_MESSAGE },
        { { SSL3_MT_NEWSESSION_TICKET, 0, 0, 9 }, 4, TG_TLS_HANDSHAKE, TG_TLS_UNEXPECTED_MESSAGE }, /* from a client */
        { { 0 }, 0, TG_TLS_HANDSHAKE, TG_TLS_UNEXPECTED_MESSAGE },
        { { 1 }, 1, 20, TG_TLS_UNEXPECTED_MESSAGE },
        { { 1, 2, 3 }, 3, TG_TLS_ALERT, TG_TLS_DECODE_ERROR },
        { { 0 }, 0, TG_TLS_ALERT, TG_TLS_DECODE_ERROR },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct ends e;
        open_ends(&e, 0x1301, 0);
        assert_int_equal(send_as(&e, cases[i].type, cases[i].data, cases[i].len), TG_TLS_BAD);
        assert_int_equal(e.to->alert, cases[i].alert);
        close_ends(&e);
    }
    struct ends e;
    open_ends(&e, 0x1301, 0); /* data in the middle of a message */
    assert_int_equal(send_as(&e, TG_TLS_HANDSHAKE, request, 3), TG_TLS_NOTHING);
    assert_int_equal(send_as(&e, TG_TLS_DATA, "x", 1), TG_TLS_BAD);
    assert_bad(e.to, TG_TLS_UNEXPECTED_MESSAGE, SSL_R_MIXED_HANDSHAKE_AND_NON_HANDSHAKE_DATA);
    close_ends(&e);
}

static void test_late_tickets_are_passed_over(void **state)
{
    struct tg_tls_traffic *client = traffic(false, 0x1301, 0), *server = traffic(true, 0x1301, 0);
    uint8_t tickets[2 * (4 + 200)] = { SSL3_MT_NEWSESSION_TICKET, 0, 0, 200 }, record[600], out[600];
    (void)state;
    memcpy(tickets + 204, tickets, 4);
    for (size_t piece = 1; piece <= sizeof(tickets); piece += piece < 8 ? 1 : 40) {
        for (size_t at = 0; at < sizeof(tickets); at += piece) {
            struct iovec part = { tickets + at, sizeof(tickets) - at < piece ? sizeof(tickets) - at : piece };
            size_t len = tg_tls_seal(&server->out, TG_TLS_HANDSHAKE, &part, 1, record);
            assert_int_equal(take(client, record, len, out), TG_TLS_NOTHING);
        }
        struct iovec part = { "data", 4 };
        assert_int_equal(take(client, record, tg_tls_seal(&server->out, TG_TLS_DATA, &part, 1, record), out), 4);
    }
    tg_tls_traffic_free(client);
    tg_tls_traffic_free(server);
}

static void test_ends_and_alerts(void **state)
{
    struct ends e;
    (void)state;
    open_ends(&e, 0x1301, 0);
    assert_int_equal(send_as(&e, TG_TLS_ALERT, (const uint8_t[]){ 1, TG_TLS_USER_CANCELED }, 2), TG_TLS_NOTHING);
    size_t len = tg_tls_traffic_alert(e.from, TG_TLS_CLOSE_NOTIFY, e.record);
    assert_int_equal(len, TG_TLS_ALERT_SIZE);
    assert_int_equal(take(e.to, e.record, len, e.out), TG_TLS_END);
    assert_int_equal(send_as(&e, TG_TLS_DATA, "more", 4), TG_TLS_END); /* it is not looked at any more */
    close_ends(&e);
    open_ends(&e, 0x1301, 0);
    len = tg_tls_traffic_alert(e.from, TG_TLS_BAD_RECORD_MAC, e.record);
    assert_int_equal(take(e.to, e.record, len, e.out), TG_TLS_BAD);
    assert_bad(e.to, 0, SSL_R_SSLV3_ALERT_BAD_RECORD_MAC);
    close_ends(&e);
}

static void test_empty_records_have_a_limit(void **state)
{
    struct ends e;
    (void)state;
    open_ends(&e, 0x1301, 0);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 32; i++)
            assert_int_equal(send_as(&e, TG_TLS_DATA, "", 0), TG_TLS_NOTHING);
        assert_int_equal(send_as(&e, TG_TLS_DATA, "x", 1), 1);
    }
    for (int i = 0; i < 32; i++)
        assert_int_equal(send_as(&e, TG_TLS_DATA, "", 0), TG_TLS_NOTHING);
    assert_int_equal(send_as(&e, TG_TLS_DATA, "", 0), TG_TLS_BAD);
    close_ends(&e);
}

static void test_counting(void **state)
{
    struct ends e;
    uint8_t all[400];
    size_t len = 0;
    (void)state;
    open_ends(&e, 0x1301, 0);
    for (size_t i = 0; i < 8; i++) {
        struct iovec part = { "abcdefgh", i };
        len += tg_tls_seal(&e.from->out, TG_TLS_DATA, &part, 1, all + len);
    }
    for (size_t piece = 1; piece < len; piece++) {
        struct tg_tls_tally y = { 0 };
        for (size_t at = 0; at < len; at += piece)
            tg_tls_count(&y, all + at, len - at < piece ? len - at : piece);
        assert_int_equal(y.records, 8);
        assert_true(tg_tls_is_even(&y));
        tg_tls_count(&y, all, piece < 22 ? piece : 21);
        assert_false(tg_tls_is_even(&y));
    }
    close_ends(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_example_of_the_rfc),
        cmocka_unit_test(test_data_of_any_size),
        cmocka_unit_test(test_padding_is_taken_off),
        cmocka_unit_test(test_every_bit_counts),
        cmocka_unit_test(test_replayed_and_dropped_records_are_refused),
        cmocka_unit_test(test_heads_that_cannot_be),
        cmocka_unit_test(test_content_has_a_limit),
        cmocka_unit_test(test_new_keys),
        cmocka_unit_test(test_new_keys_are_answered_once),
        cmocka_unit_test(test_keys_wear_out),
        cmocka_unit_test(test_what_a_peer_may_not_say),
        cmocka_unit_test(test_late_tickets_are_passed_over),
        cmocka_unit_test(test_ends_and_alerts),
        cmocka_unit_test(test_empty_records_have_a_limit),
        cmocka_unit_test(test_counting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
