/** @file
 * One TLS context shared by threads, as workers share it: handshakes, resumed
 * and full, while another thread loads changed files.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "stream/pair.h"
#include "stream/tls.h"
#include "stream/tls_cert.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THREADS 3
#define ROUNDS 40
#define LARGE 300000u

struct shared {
    char directory[32];
    struct tg_tls_context *server, *client;
    char cert[64], key[64];
    atomic_bool over;
    atomic_uint resumed, done;
};

static void save(const char *path, BIO *text)
{
    char temporary[80], *data;
    long len = BIO_get_mem_data(text, &data);
    snprintf(temporary, sizeof(temporary), "%s.new", path);
    FILE *f = fopen(temporary, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, (size_t)len, f), len);
    fclose(f);
    assert_int_equal(rename(temporary, path), 0);
}

static void make_files(const struct shared *s)
{
    const struct tg_tls_subject subject = { "localhost", "Test", 3600 };
    BIO *cert, *key;
    char err[256];
    assert_true(tg_tls_generate(&subject, &cert, &key, err, sizeof(err)));
    save(s->key, key);
    save(s->cert, cert);
    BIO_free(cert);
    BIO_free(key);
}

static struct tg_tls_context *context(const struct tg_tls_options *o)
{
    char err[512];
    struct tg_tls_context *c = tg_tls_context_get(o, err, sizeof(err));
    if (c == NULL)
        fail_msg("%s", err);
    return c;
}

static void open_contexts(struct shared *s)
{
    const struct tg_tls_pair pair = { s->cert, s->key };
    const struct tg_tls_options server = {
        .server = true, .sessions = true, .pairs = &pair, .pair_count = 1,
    };
    const struct tg_tls_options client = { .sessions = true };
    s->server = context(&server);
    s->client = context(&client);
    struct tg_tls_context *again = context(&server);
    assert_ptr_equal(again, s->server);
    tg_tls_context_put(again);
}

static void open_shared(struct shared *s)
{
    memset(s, 0, sizeof(*s));
    strcpy(s->directory, "/tmp/tidegate-tls-XXXXXX");
    assert_non_null(mkdtemp(s->directory));
    snprintf(s->cert, sizeof(s->cert), "%s/cert.pem", s->directory);
    snprintf(s->key, sizeof(s->key), "%s/key.pem", s->directory);
    make_files(s);
    open_contexts(s);
}

static void close_shared(struct shared *s)
{
    tg_tls_context_put(s->server);
    tg_tls_context_put(s->client);
    unlink(s->cert);
    unlink(s->key);
    rmdir(s->directory);
}

/* Move `len` bytes from one end to the other. */
static void carry(struct tg_reactor *r, struct tg_stream *from, struct tg_stream *to, size_t len)
{
    uint8_t *data = malloc(len), *got = malloc(len);
    size_t sent = 0, received = 0;
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(i * 7 + i / 251);
    for (int turns = 0; received < len && turns < 100000; turns++) {
        if (sent < len) {
            ssize_t n = tg_stream_write(from, data + sent, len - sent);
            assert_true(n > 0 || n == TG_AGAIN);
            sent += n > 0 ? (size_t)n : 0;
        }
        ssize_t n = tg_stream_read(to, got + received, len - received);
        assert_true(n > 0 || n == TG_AGAIN);
        received += n > 0 ? (size_t)n : 0;
        tg_reactor_turn(r, 0);
    }
    assert_int_equal(received, len);
    assert_memory_equal(data, got, len);
    free(data);
    free(got);
}

static void meet(struct tg_reactor *r, struct shared *s, size_t len)
{
    struct tg_stream *a, *b;
    struct tg_tls_info info;
    tg_stream_pair(r, TG_BUF_LARGE, &a, &b);
    struct tg_stream *server = tg_tls_start(a, s->server, NULL);
    struct tg_stream *client = tg_tls_start(b, s->client, "localhost");
    for (int turns = 0; turns < 1000 && (server->state == TG_STREAM_OPENING ||
                                         client->state == TG_STREAM_OPENING); turns++)
        tg_reactor_turn(r, 0);
    assert_int_equal(server->state, TG_STREAM_OPEN);
    assert_int_equal(client->state, TG_STREAM_OPEN);
    carry(r, client, server, len);
    carry(r, server, client, len);
    assert_true(tg_tls_describe(client, &info));
    s->resumed += info.resumed;
    s->done++;
    tg_stream_close(client);
    tg_stream_close(server);
}

static void *work(void *arg)
{
    struct shared *s = arg;
    struct tg_reactor r;
    struct tg_error err;
    assert_int_equal(tg_reactor_open(&r, &err), 0);
    for (int i = 0; i < ROUNDS; i++)
        meet(&r, s, i % 10 == 0 ? LARGE : 100);
    tg_reactor_close(&r);
    return NULL;
}

static void *reload(void *arg)
{
    struct shared *s = arg;
    char err[512];
    int renewed = 0, late = 0;
    while (!s->over || (renewed == 0 && late++ < 1000)) { /* it may come to run after the others */
        make_files(s);
        renewed += tg_tls_context_refresh(s->server, err, sizeof(err)) == 1;
        usleep(3000);
    }
    assert_true(renewed > 0);
    return NULL;
}

static void test_threads_share_a_context(void **state)
{
    (void)state;
    struct shared s;
    pthread_t threads[THREADS], reloader;
    open_shared(&s);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, work, &s);
    pthread_create(&reloader, NULL, reload, &s);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    s.over = true;
    pthread_join(reloader, NULL);
    assert_int_equal(s.done, THREADS * ROUNDS);
    assert_true(s.resumed > 0);
    close_shared(&s);
}

static void test_peer_that_never_reads_is_held_back(void **state)
{
    (void)state;
    struct tg_reactor r;
    struct tg_error err;
    struct shared s;
    open_shared(&s);
    assert_int_equal(tg_reactor_open(&r, &err), 0);

    struct tg_stream *a, *b;
    tg_stream_pair(&r, TG_BUF_LARGE, &a, &b);
    struct tg_stream *server = tg_tls_start(a, s.server, NULL);
    struct tg_stream *client = tg_tls_start(b, s.client, NULL);
    for (int turns = 0; turns < 100; turns++)
        tg_reactor_turn(&r, 0);
    /* Nobody reads at the client: the server takes what fits below, and no more. */
    static const uint8_t zeros[65536];
    size_t taken = 0;
    ssize_t n;
    while ((n = tg_stream_write(server, zeros, sizeof(zeros))) > 0)
        taken += (size_t)n;
    assert_int_equal(n, TG_AGAIN);
    assert_true(taken <= 2 * TG_BUF_LARGE);
    assert_int_equal(tg_stream_shutdown(server), TG_AGAIN);
    assert_true(r.pool.lent < 4 * TG_BUF_LARGE);
    tg_stream_close(client);
    tg_stream_close(server);
    assert_int_equal(r.pool.lent, 0);
    tg_reactor_close(&r);
    close_shared(&s);
}

/* What the library of a hostile client has to say goes to `wire`; with `read`, what came is
 * given to it. */
static void pump(SSL *ssl, struct tg_stream *wire, bool read)
{
    char data[4096];
    BIO *out = SSL_get_wbio(ssl), *in = SSL_get_rbio(ssl);
    while (BIO_ctrl_pending(out) > 0) {
        char *pending;
        long len = BIO_get_mem_data(out, &pending);
        ssize_t n = tg_stream_write(wire, pending, (size_t)len);
        if (n <= 0)
            break;
        assert_int_equal(BIO_read(out, data, n < 4096 ? (int)n : 4096), n < 4096 ? n : 4096);
        assert_true(n <= 4096);
    }
    ssize_t n;
    while (read && (n = tg_stream_read(wire, data, sizeof(data))) > 0)
        BIO_write(in, data, (int)n);
}

static void test_key_updates_do_not_fill_memory(void **state)
{
    (void)state;
    struct tg_reactor r;
    struct tg_error err;
    struct shared s;
    struct tg_stream *a, *wire;
    uint8_t byte;
    open_shared(&s);
    assert_int_equal(tg_reactor_open(&r, &err), 0);
    tg_stream_pair(&r, TG_BUF_LARGE, &a, &wire);
    struct tg_stream *server = tg_tls_start(a, s.server, NULL);
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ctx);
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_connect_state(ssl);
    for (int i = 0; i < 20; i++) {
        SSL_do_handshake(ssl);
        pump(ssl, wire, true);
        tg_reactor_turn(&r, 0);
    }
    assert_int_equal(server->state, TG_STREAM_OPEN);
    for (int i = 0; i < 30000; i++) {
        SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED);
        SSL_do_handshake(ssl);
        pump(ssl, wire, false);
        ssize_t n = tg_stream_read(server, &byte, 1);
        assert_true(n == TG_AGAIN || n == TG_TLS);
        assert_true(r.pool.lent < 6 * TG_BUF_LARGE);
        if (n == TG_TLS || BIO_ctrl_pending(SSL_get_wbio(ssl)) > 0)
            break;
    }
    tg_stream_close(server);
    tg_stream_close(wire);
    tg_reactor_close(&r);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    close_shared(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_share_a_context),
        cmocka_unit_test(test_peer_that_never_reads_is_held_back),
        cmocka_unit_test(test_key_updates_do_not_fill_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
