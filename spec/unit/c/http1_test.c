#include "codec_check.h"

#include "codec/http1.h"

#include <stdio.h>

static struct tg_http1_head head;
/* Spans must outlive the exact buffers of the checks. */
static char kept[4096];

static ssize_t request(const uint8_t *in, size_t len, struct tg_error *err)
{
    return tg_http1_request_decode(in, len, &head, err);
}

static ssize_t response(const uint8_t *in, size_t len, struct tg_error *err)
{
    return tg_http1_response_decode(in, len, &head, err);
}

static struct tg_span span(const char *text)
{
    return (struct tg_span){ (const uint8_t *)text, strlen(text) };
}

static void assert_span(struct tg_span s, const char *text)
{
    assert_int_equal(s.len, strlen(text));
    assert_memory_equal(s.data, text, s.len);
}

static void good(check_decode decode, const char *text)
{
    struct tg_error err;
    size_t len = strlen(text);
    check_message(decode, text, len);
    memcpy(kept, text, len);
    assert_int_equal(decode((const uint8_t *)kept, len, &err), len);
}

static void bad(check_decode decode, const char *text)
{
    check_refused(decode, text, strlen(text), TG_PROTOCOL);
}

static void test_requests(void **state)
{
    (void)state;
    good(request, "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n"
                  "User-Agent: curl/8\r\nProxy-Connection: Keep-Alive\r\n\r\n");
    assert_span(head.method, "CONNECT");
    assert_span(head.target, "example.com:443");
    assert_span(head.host, "example.com:443");
    assert_int_equal(head.minor, 1);
    assert_int_equal(head.count, 3);
    assert_true(head.persistent);
    good(request, "CONNECT  HTTP/1.1\r\nHost:\r\n\r\n");
    assert_int_equal(head.target.len, 0);
    assert_non_null(head.host.data);
    good(request, "\r\n\r\nGET / HTTP/1.0\r\n\r\n");
    assert_span(head.target, "/");
    assert_false(head.persistent);
    assert_null(head.host.data);
    good(request, "PRI * HTTP/2.0\r\n\r\n");
    good(request, "GET /\xc3\xa9 HTTP/1.1\r\nA:\t b\xff c \t\r\nB: \r\n\r\n");
    size_t at = 0;
    struct tg_http1_field f;
    assert_true(tg_http1_field_next(head.fields, &at, &f));
    assert_span(f.name, "A");
    assert_span(f.value, "b\xff c");
    assert_true(tg_http1_field_next(head.fields, &at, &f));
    assert_span(f.value, "");
    assert_false(tg_http1_field_next(head.fields, &at, &f));
    check_garbage(request);
}

static void test_requests_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "\x16\x03\x01", " GET / HTTP/1.1\r\n", "\n", "\r\r", "\r\n\r\n\r\n\r\n\r\n",
        "GET /\r\n\r\n", "GET / HTTP/1.1\n", "GET / HTTP/1.1 \r\n", "GET  / HTTP/1.1\r\n",
        "GET / HTTP/1.2\r\n", "GET / HTTP/2.0\r\n", "GET / http/1.1\r\n", "GET /\t HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\n\n", "GET / HTTP/1.1\r\nA: b\n\r\n", "GET / HTTP/1.1\r\nA: b\rc\r\n",
        "GET / HTTP/1.1\r\nA : b\r\n", "GET / HTTP/1.1\r\n A: b\r\n",
        "GET / HTTP/1.1\r\nA: b\r\n c\r\n", "GET / HTTP/1.1\r\n: b\r\n", "GET / HTTP/1.1\r\nA\r\n",
        "GET / HTTP/1.1\r\nA: \x01\r\n", "GET / HTTP/1.1\r\nA: \x7f\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nhOST: b\r\n",
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        bad(request, rows[i]);
    check_refused(request, "GET / HTTP/1.1\r\nA: \0\r\n", 23, TG_PROTOCOL);
}

static void test_framing_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "Content-Length: 5\r\nContent-Length: 6\r\n", "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n", "Content-Length: -5\r\n", "Content-Length: 0x5\r\n",
        "Content-Length: \r\n", "Content-Length: 5 5\r\n", "Content-Length: 9007199254740993\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\ncontent-length: 0\r\n", "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked, gzip\r\n", "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: xchunked\r\n", "Transfer-Encoding: chunked;a=b\r\n",
        "Transfer-Encoding: \"chunked\"\r\n", "Transfer-Encoding:\r\n",
        "Transfer-Encoding: \013chunked\r\n",
    };
    char text[256];
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        snprintf(text, sizeof(text), "POST / HTTP/1.1\r\n%s\r\n", rows[i]);
        bad(request, text);
    }
    bad(request, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
    bad(response, "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
}

static void test_request_bodies(void **state)
{
    (void)state;
    good(request, "POST / HTTP/1.1\r\nContent-Length: 5\r\ncontent-length:5\r\n\r\n");
    assert_int_equal(head.length, 5);
    assert_int_equal(tg_http1_request_body(&head), TG_HTTP1_LENGTH);
    good(request, "POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\ntransfer-encoding: CHUNKED\r\n\r\n");
    assert_int_equal(tg_http1_request_body(&head), TG_HTTP1_CHUNKED);
    good(request, "POST / HTTP/1.1\r\nContent-Length: 0\r\nExpect: 100-Continue\r\n\r\n");
    assert_int_equal(tg_http1_request_body(&head), TG_HTTP1_NONE);
    assert_true(head.expects);
    good(request, "GET / HTTP/1.1\r\n\r\n");
    assert_int_equal(tg_http1_request_body(&head), TG_HTTP1_NONE);
}

static void test_responses(void **state)
{
    (void)state;
    good(response, "HTTP/1.1 200 Connection established\r\nProxy-Agent: gost/3.0\r\n\r\n");
    assert_int_equal(head.status, 200);
    assert_span(head.reason, "Connection established");
    assert_int_equal(tg_http1_response_body(&head, span("CONNECT")), TG_HTTP1_NONE);
    assert_int_equal(tg_http1_response_body(&head, span("HEAD")), TG_HTTP1_NONE);
    assert_int_equal(tg_http1_response_body(&head, span("GET")), TG_HTTP1_CLOSE);
    good(response, "HTTP/1.0 404\r\n\r\n");
    assert_int_equal(head.status, 404);
    good(response, "HTTP/1.1 503 \r\nContent-Length: 7\r\n\r\n");
    assert_int_equal(tg_http1_response_body(&head, span("CONNECT")), TG_HTTP1_LENGTH);
    good(response, "HTTP/1.1 304 N\r\nContent-Length: 7\r\n\r\n");
    assert_int_equal(tg_http1_response_body(&head, span("GET")), TG_HTTP1_NONE);
    good(response, "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n");
    assert_int_equal(tg_http1_response_body(&head, span("GET")), TG_HTTP1_CLOSE);
    good(response, "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip , chunked\r\n\r\n");
    assert_int_equal(tg_http1_response_body(&head, span("GET")), TG_HTTP1_CHUNKED);
    static const char *const rows[] = {
        "SSH-2.0-x", "HTTP/2 200\r\n", "HTTP/1.1 20 OK\r\n", "HTTP/1.1 2000 OK\r\n",
        "HTTP/1.1  200 OK\r\n", "HTTP/1.1 099 OK\r\n", "HTTP/1.1 200 O\x01K\r\n", "HTTP/1.1 20x\r\n",
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        bad(response, rows[i]);
    check_garbage(response);
}

static bool persists(const char *fields, int minor)
{
    char text[256];
    snprintf(text, sizeof(text), "GET / HTTP/1.%d\r\n%s\r\n", minor, fields);
    good(request, text);
    return head.persistent;
}

static void test_persistence(void **state)
{
    (void)state;
    assert_true(persists("", 1));
    assert_false(persists("Connection: Close\r\n", 1));
    assert_false(persists("Connection: upgrade ,close\r\n", 1));
    assert_false(persists("Connection: upgrade\r\nconnection: close\r\n", 1));
    assert_true(persists("Connection: closed\r\n", 1));
    assert_false(persists("", 0));
    assert_true(persists("Connection: keep-alive\r\n", 0));
    assert_true(persists("Proxy-Connection: Keep-Alive\r\n", 0));
    assert_false(persists("Connection: x\r\nProxy-Connection: Keep-Alive\r\n", 0));
}

static void test_limits(void **state)
{
    (void)state;
    struct tg_error err;
    size_t size = TG_HTTP1_HEAD_MAX + 64;
    char *big = malloc(size);
    memset(big, 'a', size);
    memcpy(big, "GET /", 5);
    assert_int_equal(check_run(request, big, TG_HTTP1_HEAD_MAX - 1, &err), TG_AGAIN);
    assert_int_equal(check_run(request, big, TG_HTTP1_HEAD_MAX, &err), TG_LIMIT);
    assert_int_equal(check_run(request, big, size, &err), TG_LIMIT);
    memcpy(big, "GET / HTTP/1.1\r\nA:", 18);
    memcpy(big + TG_HTTP1_HEAD_MAX - 4, "\r\n\r\n", 4);
    assert_int_equal(check_run(request, big, size, &err), TG_HTTP1_HEAD_MAX);
    memcpy(big + TG_HTTP1_HEAD_MAX - 4, "a\r\n\r\n", 5);
    assert_int_equal(check_run(request, big, size, &err), TG_LIMIT);

    size_t n = 16;
    for (unsigned i = 0; i < TG_HTTP1_FIELDS_MAX; i++, n += 4)
        memcpy(big + n, "a:\r\n", 4);
    memcpy(big + n, "\r\n", 2);
    assert_int_equal(check_run(request, big, size, &err), n + 2);
    memcpy(big + n, "a:\r\n\r\n", 6);
    assert_int_equal(check_run(request, big, size, &err), TG_LIMIT);
    free(big);
}

static void test_targets(void **state)
{
    (void)state;
    static const struct {
        const char *method, *target;
        enum tg_http1_form form;
        const char *scheme, *host;
        int port;
        const char *path;
    } rows[] = {
        { "GET", "/a?b", TG_HTTP1_ORIGIN, "", "", -1, "/a?b" },
        { "OPTIONS", "*", TG_HTTP1_ASTERISK, "", "", -1, "*" },
        { "CONNECT", "a:443", TG_HTTP1_AUTHORITY, "", "a", 443, "" },
        { "CONNECT", "[::1]:443", TG_HTTP1_AUTHORITY, "", "::1", 443, "" },
        { "CONNECT", "a", TG_HTTP1_AUTHORITY, "", "a", -1, "" },
        { "CONNECT", "", TG_HTTP1_AUTHORITY, "", "", -1, "" },
        { "GET", "http://a", TG_HTTP1_ABSOLUTE, "http", "a", -1, "" },
        { "GET", "http://a:/", TG_HTTP1_ABSOLUTE, "http", "a", -1, "/" },
        { "GET", "HTTPS://u:p@a:8/x@y?z#f", TG_HTTP1_ABSOLUTE, "HTTPS", "a", 8, "/x@y?z" },
        { "GET", "http://[2001:db8::1]?q", TG_HTTP1_ABSOLUTE, "http", "2001:db8::1", -1, "?q" },
        { "GET", "http:///p", TG_HTTP1_ABSOLUTE, "http", "", -1, "/p" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tg_http1_target t;
        assert_int_equal(tg_http1_target_split(span(rows[i].method), span(rows[i].target), &t), 0);
        assert_int_equal(t.form, rows[i].form);
        assert_span(t.scheme, rows[i].scheme);
        assert_span(t.host, rows[i].host);
        assert_int_equal(t.port, rows[i].port);
        assert_span(t.path, rows[i].path);
    }
    static const char *const wrong[] = {
        "", "a", "a:80", "://a", "1http://a", "http:/a", "http://a:b/", "http://a:65536/",
        "http://[::1/", "http://a[b/", "http://a\\b/",
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct tg_http1_target t;
        assert_int_equal(tg_http1_target_split(span("GET"), span(wrong[i]), &t), TG_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),        cmocka_unit_test(test_requests_refused),
        cmocka_unit_test(test_framing_refused), cmocka_unit_test(test_request_bodies),
        cmocka_unit_test(test_responses),       cmocka_unit_test(test_persistence),
        cmocka_unit_test(test_limits),          cmocka_unit_test(test_targets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
