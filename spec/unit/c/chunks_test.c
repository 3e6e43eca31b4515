#include "codec_check.h"

#include "codec/chunks.h"


/* Feed `text` in pieces; the body must end after `want` bytes, its data be `data`. */
static void feed(const char *text, size_t len, size_t piece, ssize_t want, const char *data)
{
    struct tg_chunks c = { .left = 0 };
    struct tg_error err = { .code = TG_OK };
    char kept[512];
    size_t used = 0, got = 0;
    while (used < len && !tg_chunks_done(&c)) {
        uint8_t *exact = malloc(piece);
        size_t some = len - used < piece ? len - used : piece, n = 0;
        memcpy(exact, text + used, some);
        ssize_t rc = tg_chunks_scan(&c, exact, some, &n, &err);
        if (rc >= 0) {
            assert_true((size_t)rc == some || tg_chunks_done(&c));
            memcpy(kept + got, exact, n);
        }
        free(exact);
        if (rc < 0) {
            assert_int_equal(rc, want);
            assert_int_equal(rc, err.code);
            return;
        }
        got += n;
        used += (size_t)rc;
        assert_true(tg_chunks_done(&c) || tg_chunks_left(&c) <= len - used || want < 0);
    }
    assert_true(tg_chunks_done(&c));
    assert_int_equal(used, want);
    assert_int_equal(got, strlen(data));
    assert_memory_equal(kept, data, got);
}

static void body(const char *text, ssize_t want, const char *data)
{
    for (size_t piece = 1; piece <= strlen(text); piece++)
        feed(text, strlen(text), piece, want, data);
}

static void test_bodies(void **state)
{
    (void)state;
    body("0\r\n\r\n", 5, "");
    body("5\r\nhello\r\n0\r\n\r\nGET /", 15, "hello");
    body("00005\r\nhello\r\n1\r\n!\r\n000\r\n\r\n", 27, "hello!");
    body("5;a=b;c=\"d\"\r\n\r\n0\r\n\r\n0\r\nTrailer: x\r\nOther: y\r\n\r\n", 47, "\r\n0\r\n");
    body("A \r\n0123456789\r\n0 ;x\r\n\r\n", 24, "0123456789");
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "\r\n", "x\r\n", "-5\r\n", "+5\r\n", "0x5\r\n", " 5\r\n", "5\n", "5\r5", "5 5\r\n", "5;a\n",
        "5;\x01\r\n", "5\r\nhello!\r\n", "5\r\nhello\n", "5\r\nhello\rx", "0\r\n\n", "0\r\nA: b\n",
        "0\r\n A: b\r\n", "0\r\nA\x7f\r\n", "1000000000000000\r\n", "0\r\n\rx",
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        body(rows[i], TG_PROTOCOL, "");
}

static void test_limits(void **state)
{
    (void)state;
    static char text[TG_CHUNK_TRAILERS_MAX + 64];
    memset(text, 'a', sizeof(text));
    memcpy(text, "5;", 2);
    feed(text, sizeof(text), 100, TG_LIMIT, "");
    memcpy(text, "0\r\n", 3);
    feed(text, sizeof(text), 100, TG_LIMIT, "");
    for (size_t at = 3; at + 4 < sizeof(text); at += 4)
        memcpy(text + at, "a:\r\n", 4);
    feed(text, sizeof(text), 100, TG_LIMIT, "");
}

/* Trailer lines stay behind the data, however the bytes come. */
static void test_trailers(void **state)
{
    static const char text[] = "3\r\nabc\r\n0\r\na: 1\r\nB:2\r\n\r\nmore";
    (void)state;
    for (size_t piece = 1; piece < sizeof(text); piece++) {
        struct tg_chunks c = { .left = 0 };
        struct tg_error err = { .code = TG_OK };
        char kept[64] = "";
        for (size_t used = 0; !tg_chunks_done(&c);) {
            uint8_t part[sizeof(text)];
            size_t some = sizeof(text) - 1 - used < piece ? sizeof(text) - 1 - used : piece, n = 0;
            memcpy(part, text + used, some);
            ssize_t rc = tg_chunks_scan(&c, part, some, &n, &err);
            assert_true(rc > 0);
            strncat(kept, (const char *)part + n, c.trailers);
            used += (size_t)rc;
        }
        assert_string_equal(kept, "a: 1\r\nB:2\r\n\r\n");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_trailers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
