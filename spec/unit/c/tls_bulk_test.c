/** @file
 * A TLS stream that moves much makes its records itself: the same bytes, ends and errors as before, against a peer
 * that is OpenSSL, in either role and with every suite.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "stream/pair.h"
#include "stream/tls.h"
#include "stream/tls_cert.h"
#include "stream/tls_record.h"

#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#define MUCH 200000u
#define WIRE (1u << 20)

static const char *const suites[] = {
    "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"
};

/* One connection: `s` is ours, `ssl` the library's, `wire` where their bytes meet. */
struct link {
    struct tg_reactor r;
    struct tg_tls_context *context;
    struct tg_stream *s, *wire;
    SSL_CTX *ctx;
    SSL *ssl;
    uint8_t *data;
    unsigned flip; /* the byte of the next piece to us that is changed; 0: none */
};

static char certificate[4096], key[4096];

static void make_certificate(void)
{
    const struct tg_tls_subject subject = { "localhost", "Test", 3600 };
    BIO *pems[2];
    char err[256], *text;
    if (certificate[0] != '\0')
        return;
    assert_true(tg_tls_generate(&subject, &pems[0], &pems[1], err, sizeof(err)));
    for (int i = 0; i < 2; i++) {
        long len = BIO_get_mem_data(pems[i], &text);
        memcpy(i == 0 ? certificate : key, text, (size_t)len);
        BIO_free(pems[i]);
    }
}

static SSL_CTX *library_context(bool server, const char *suite)
{
    SSL_CTX *ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    assert_int_equal(SSL_CTX_set_ciphersuites(ctx, suite), 1);
    if (!server)
        return ctx;
    BIO *cert_text = BIO_new_mem_buf(certificate, -1), *key_text = BIO_new_mem_buf(key, -1);
    X509 *cert = PEM_read_bio_X509(cert_text, NULL, NULL, NULL);
    EVP_PKEY *pkey = PEM_read_bio_PrivateKey(key_text, NULL, NULL, NULL);
    SSL_CTX_use_certificate(ctx, cert);
    SSL_CTX_use_PrivateKey(ctx, pkey);
    X509_free(cert);
    EVP_PKEY_free(pkey);
    BIO_free(cert_text);
    BIO_free(key_text);
    return ctx;
}

/* Carry what lies between the two. */
static void carry(struct link *l)
{
    char data[16384], *pending;
    BIO *out = SSL_get_wbio(l->ssl), *in = SSL_get_rbio(l->ssl);
    ssize_t n;
    while (BIO_ctrl_pending(out) > 0) {
        long len = BIO_get_mem_data(out, &pending);
        if (l->flip > 0 && len > (long)l->flip) {
            pending[l->flip] ^= 1;
            l->flip = 0;
        }
        n = tg_stream_write(l->wire, pending, len < (long)sizeof(data) ? (size_t)len : sizeof(data));
        if (n <= 0)
            break;
        assert_int_equal(BIO_read(out, data, (int)n), n);
    }
    while ((n = tg_stream_read(l->wire, data, sizeof(data))) > 0)
        BIO_write(in, data, (int)n);
    tg_reactor_turn(&l->r, 0);
}

static void ignore(void *arg, unsigned events)
{
    (void)arg, (void)events;
}

static void open_link(struct link *l, bool we_serve, const char *suite)
{
    struct tg_error err;
    char text[256];
    struct tg_stream *near;
    make_certificate();
    memset(l, 0, sizeof(*l));
    assert_int_equal(tg_reactor_open(&l->r, &err), 0);
    const struct tg_tls_pair pair = { certificate, key };
    const struct tg_tls_options server = { .server = true, .sessions = true, .pairs = &pair, .pair_count = 1 };
    const struct tg_tls_options client = { .sessions = true };
    l->context = tg_tls_context_get(we_serve ? &server : &client, text, sizeof(text));
    assert_non_null(l->context);
    l->ctx = library_context(!we_serve, suite);
    l->ssl = SSL_new(l->ctx);
    SSL_set_bio(l->ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    if (we_serve)
        SSL_set_connect_state(l->ssl);
    else
        SSL_set_accept_state(l->ssl);
    tg_stream_pair(&l->r, WIRE, &near, &l->wire);
    l->s = tg_tls_start(near, l->context, "localhost");
    l->s->on_ready = ignore;
    tg_stream_want(l->s, TG_READABLE | TG_WRITABLE);
    for (int i = 0; i < 10; i++) {
        SSL_do_handshake(l->ssl);
        carry(l);
    }
    assert_int_equal(l->s->state, TG_STREAM_OPEN);
    assert_true(SSL_is_init_finished(l->ssl));
    l->data = malloc(MUCH);
    for (size_t i = 0; i < MUCH; i++)
        l->data[i] = (uint8_t)(i * 7 + i / 251);
}

static void close_link(struct link *l)
{
    tg_stream_close(l->s);
    if (l->wire != NULL)
        tg_stream_close(l->wire);
    assert_int_equal(l->r.pool.lent, 0);
    tg_reactor_close(&l->r);
    tg_tls_context_put(l->context);
    SSL_free(l->ssl);
    SSL_CTX_free(l->ctx);
    free(l->data);
}

static bool is_own(const struct link *l)
{
    struct tg_tls_info info;
    return tg_tls_describe(l->s, &info) && info.own_records;
}

/* From the library to us, read in pieces. */
static void download(struct link *l, size_t len, size_t piece)
{
    uint8_t *got = malloc(len);
    size_t received = 0, sent = 0;
    for (int turns = 0; received < len && turns < 1000000; turns++) {
        if (sent < len && BIO_ctrl_pending(SSL_get_wbio(l->ssl)) == 0) {
            size_t n = len - sent < 40000 ? len - sent : 40000;
            assert_int_equal(SSL_write(l->ssl, l->data + sent, (int)n), n);
            sent += n;
        }
        carry(l);
        for (ssize_t n; received < len; received += (size_t)n) {
            n = tg_stream_read(l->s, got + received, len - received < piece ? len - received : piece);
            assert_true(n > 0 || n == TG_AGAIN);
            if (n == TG_AGAIN)
                break;
        }
    }
    assert_int_equal(received, len);
    assert_memory_equal(got, l->data, len);
    free(got);
}

/* From us to the library, in several parts. */
static void upload(struct link *l, size_t len)
{
    uint8_t *got = malloc(len);
    size_t received = 0, sent = 0;
    for (int turns = 0; received < len && turns < 100000; turns++) {
        size_t left = len - sent, first = left / 3;
        struct iovec parts[] = { { l->data + sent, first }, { NULL, 0 }, { l->data + sent + first, left - first } };
        ssize_t n = left > 0 ? tg_stream_writev(l->s, parts, 3) : 0;
        assert_true(n >= 0 || n == TG_AGAIN);
        sent += n > 0 ? (size_t)n : 0;
        carry(l);
        while ((n = SSL_read(l->ssl, got + received, (int)(len - received))) > 0)
            received += (size_t)n;
    }
    assert_int_equal(received, len);
    assert_memory_equal(got, l->data, len);
    free(got);
}

static void assert_ends_well(struct link *l)
{
    struct tg_tls_info info;
    char byte;
    assert_int_equal(tg_stream_shutdown(l->s), 0);
    carry(l);
    assert_int_equal(SSL_read(l->ssl, &byte, 1), 0);
    assert_int_equal(SSL_get_error(l->ssl, 0), SSL_ERROR_ZERO_RETURN);
    download(l, 3000, 1000); /* half-closed: the other way lives */
    SSL_shutdown(l->ssl);
    carry(l);
    assert_int_equal(tg_stream_read(l->s, &byte, 1), 0);
    assert_true(tg_tls_describe(l->s, &info));
    assert_false(info.truncated);
}

static void test_every_suite_in_either_role(void **state)
{
    (void)state;
    for (int role = 0; role < 2; role++) {
        for (size_t i = 0; i < sizeof(suites) / sizeof(*suites); i++) {
            struct link l;
            open_link(&l, role == 0, suites[i]);
            upload(&l, 100);
            download(&l, 100, 100);
            assert_false(is_own(&l)); /* few bytes: not worth it */
            upload(&l, MUCH);
            download(&l, MUCH, 65536);
            assert_true(is_own(&l));
            upload(&l, MUCH);
            download(&l, MUCH, role == 0 ? 131072 : 16384);
            assert_ends_well(&l);
            close_link(&l);
        }
    }
}

static void test_small_reads(void **state)
{
    struct link l;
    (void)state;
    open_link(&l, true, suites[0]);
    download(&l, MUCH, 65536);
    for (size_t piece = 1; piece < 40000; piece = piece * 3 + 1)
        download(&l, piece == 1 ? 20000 : MUCH, piece);
    assert_true(is_own(&l));
    close_link(&l);
}

static void test_new_keys_both_ways(void **state)
{
    (void)state;
    for (int role = 0; role < 2; role++) {
        struct link l;
        open_link(&l, role == 0, suites[role]);
        download(&l, MUCH, 65536);
        assert_true(is_own(&l));
        for (int i = 0; i < 6; i++) {
            int how = i % 2 == 0 ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED;
            assert_int_equal(SSL_key_update(l.ssl, how), 1);
            assert_int_equal(SSL_do_handshake(l.ssl), 1);
            if (i < 3)
                download(&l, 50000, 65536);
            upload(&l, 50000);
            download(&l, 50000, 65536);
        }
        assert_ends_well(&l);
        close_link(&l);
    }
}

static void test_new_keys_before_leave_the_library_in_charge(void **state)
{
    struct link l;
    (void)state;
    open_link(&l, true, suites[0]);
    download(&l, 1000, 1000);
    SSL_key_update(l.ssl, SSL_KEY_UPDATE_REQUESTED);
    download(&l, MUCH, 65536);
    upload(&l, MUCH);
    assert_false(is_own(&l));
    assert_ends_well(&l);
    close_link(&l);
}

static void test_client_waits_for_tickets(void **state)
{
    struct link l;
    (void)state;
    open_link(&l, false, suites[0]);
    assert_int_equal(tg_stream_write(l.s, l.data, MUCH), MUCH);
    assert_int_equal(tg_stream_write(l.s, l.data, 1000), 1000);
    assert_false(is_own(&l)); /* what the server has sent was not read yet */
    download(&l, 1000, 1000);
    assert_int_equal(tg_stream_write(l.s, l.data, 1000), 1000);
    assert_true(is_own(&l));
    close_link(&l);
}

static void test_short_connections_do_not_pay_for_it(void **state)
{
    struct link first, l;
    (void)state;
    open_link(&first, true, suites[0]); /* holds the context */
    for (int i = 0; i < 40; i++) {
        open_link(&l, true, suites[0]);
        close_link(&l);
    }
    open_link(&l, true, suites[0]);
    for (int i = 0; i < 10; i++)
        download(&l, MUCH, 65536);
    assert_false(is_own(&l));
    close_link(&l);
    open_link(&l, true, suites[0]); /* but the next ones do: such exist as well */
    download(&l, MUCH, 65536);
    assert_true(is_own(&l));
    close_link(&l);
    close_link(&first);
}

static void test_forged_record(void **state)
{
    (void)state;
    for (int role = 0; role < 2; role++) {
        struct link l;
        uint8_t byte[100];
        open_link(&l, role == 0, suites[2 * role]);
        download(&l, MUCH, 65536);
        assert_true(is_own(&l));
        assert_int_equal(SSL_write(l.ssl, "good", 4), 4);
        carry(&l);
        assert_int_equal(SSL_write(l.ssl, "forged", 6), 6);
        l.flip = 8;
        carry(&l);
        assert_int_equal(tg_stream_read(l.s, byte, sizeof(byte)), 4); /* what came before it counts */
        assert_int_equal(tg_stream_read(l.s, byte, sizeof(byte)), TG_TLS);
        assert_string_equal(l.s->error.detail, "decryption failed or bad record mac");
        assert_int_equal(tg_stream_write(l.s, "x", 1), TG_TLS);
        carry(&l);
        ERR_clear_error();
        assert_true(SSL_read(l.ssl, byte, 1) <= 0);
        assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_SSLV3_ALERT_BAD_RECORD_MAC);
        ERR_clear_error();
        close_link(&l);
    }
}

static void test_alert_of_the_peer(void **state)
{
    struct link l;
    uint8_t byte, garbage[40] = { 23, 3, 3, 0, 35 };
    (void)state;
    open_link(&l, true, suites[0]);
    download(&l, MUCH, 65536);
    BIO_write(SSL_get_rbio(l.ssl), garbage, sizeof(garbage));
    assert_int_equal(SSL_read(l.ssl, &byte, 1), -1);
    ERR_clear_error();
    carry(&l);
    assert_int_equal(tg_stream_read(l.s, &byte, 1), TG_TLS);
    assert_non_null(strstr(l.s->error.detail, "alert bad record mac"));
    close_link(&l);
}

static void test_end_without_notice(void **state)
{
    struct link l;
    struct tg_tls_info info;
    uint8_t bytes[100];
    (void)state;
    open_link(&l, true, suites[0]);
    download(&l, MUCH, 65536);
    assert_int_equal(SSL_write(l.ssl, "last", 4), 4);
    carry(&l);
    assert_int_equal(tg_stream_write(l.wire, "\x17\x03\x03\x01", 4), 4); /* half a head */
    tg_stream_shutdown(l.wire);
    carry(&l);
    assert_int_equal(tg_stream_read(l.s, bytes, sizeof(bytes)), 4);
    assert_int_equal(tg_stream_read(l.s, bytes, sizeof(bytes)), 0);
    assert_true(tg_tls_describe(l.s, &info));
    assert_true(info.truncated);
    close_link(&l);
}

static void test_close_tells_the_end(void **state)
{
    struct link l;
    struct tg_stream *fresh, *rest;
    char byte;
    (void)state;
    open_link(&l, true, suites[0]);
    upload(&l, MUCH);
    assert_int_equal(tg_stream_write(l.s, "bye", 3), 3);
    assert_true(is_own(&l));
    tg_stream_close(l.s);
    carry(&l);
    char text[8];
    assert_int_equal(SSL_read(l.ssl, text, sizeof(text)), 3);
    assert_int_equal(SSL_read(l.ssl, &byte, 1), 0);
    assert_int_equal(SSL_get_error(l.ssl, 0), SSL_ERROR_ZERO_RETURN);
    tg_stream_pair(&l.r, 4096, &fresh, &rest);
    tg_stream_close(rest);
    l.s = fresh;
    close_link(&l);
}

static void test_peer_that_never_reads(void **state)
{
    struct link l;
    uint8_t byte;
    size_t taken = 0;
    ssize_t n;
    (void)state;
    open_link(&l, true, suites[0]);
    download(&l, MUCH, 65536);
    while ((n = tg_stream_write(l.s, l.data, MUCH)) > 0)
        taken += (size_t)n;
    assert_int_equal(n, TG_AGAIN);
    assert_true(taken <= WIRE);
    assert_int_equal(tg_stream_shutdown(l.s), TG_AGAIN);
    assert_true(l.r.pool.lent < WIRE + 6 * TG_BUF_LARGE);
    /* And who asks for new keys all the time gets no answers that would have to be kept. */
    size_t lent = l.r.pool.lent;
    for (int i = 0; i < 5000; i++) {
        char *pending, data[64];
        SSL_key_update(l.ssl, SSL_KEY_UPDATE_REQUESTED);
        SSL_do_handshake(l.ssl);
        long len = BIO_get_mem_data(SSL_get_wbio(l.ssl), &pending);
        assert_int_equal(tg_stream_write(l.wire, pending, (size_t)len), len);
        assert_int_equal(BIO_read(SSL_get_wbio(l.ssl), data, (int)len), len);
        tg_reactor_turn(&l.r, 0);
        assert_int_equal(tg_stream_read(l.s, &byte, 1), TG_AGAIN);
    }
    assert_true(l.r.pool.lent < lent + 4 * TG_BUF_LARGE);
    close_link(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_suite_in_either_role),
        cmocka_unit_test(test_small_reads),
        cmocka_unit_test(test_new_keys_both_ways),
        cmocka_unit_test(test_new_keys_before_leave_the_library_in_charge),
        cmocka_unit_test(test_client_waits_for_tickets),
        cmocka_unit_test(test_short_connections_do_not_pay_for_it),
        cmocka_unit_test(test_forged_record),
        cmocka_unit_test(test_alert_of_the_peer),
        cmocka_unit_test(test_end_without_notice),
        cmocka_unit_test(test_close_tells_the_end),
        cmocka_unit_test(test_peer_that_never_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
