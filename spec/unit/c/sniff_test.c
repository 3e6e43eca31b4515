#include "codec_check.h"

#include "codec/sniff.h"

/* The verdict, and after how many bytes it falls. */
static void expect(const char *text, size_t len, enum tg_sniffed verdict, size_t after)
{
    enum tg_sniffed got;
    for (size_t cut = 0; cut <= len; cut++) {
        ssize_t n = tg_sniff((const uint8_t *)text, cut, &got);
        assert_int_equal(n, cut < after ? TG_AGAIN : 0);
        if (n == 0)
            assert_int_equal(got, verdict);
    }
}

static void test_verdicts(void **state)
{
    (void)state;
    expect("GET / HTTP/1.1\r\n", 16, TG_SNIFF_HTTP, 4);
    expect("POST /", 6, TG_SNIFF_HTTP, 5);
    expect("PUT /", 5, TG_SNIFF_HTTP, 4);
    expect("DELETE /", 8, TG_SNIFF_HTTP, 7);
    expect("OPTIONS *", 9, TG_SNIFF_HTTP, 8);
    expect("PATCH /", 7, TG_SNIFF_HTTP, 6);
    expect("HEAD /", 6, TG_SNIFF_HTTP, 5);
    expect("CONNECT a:1", 11, TG_SNIFF_HTTP, 8);
    expect("TRACE /", 7, TG_SNIFF_HTTP, 6);
    expect("PRI * HTTP/2.0", 14, TG_SNIFF_HTTP2, 6);
    expect("SSH-2.0-x", 9, TG_SNIFF_SSH, 5);
    expect("\4\1", 2, TG_SNIFF_SOCKS4, 1);
    expect("\5\1", 2, TG_SNIFF_SOCKS5, 1);
    expect("*1\r\n", 4, TG_SNIFF_REDIS, 1);
    expect("$5", 2, TG_SNIFF_REDIS, 1);
    expect("\x16\3\1\2", 4, TG_SNIFF_TLS, 3);
    expect("\x16\3\4\2", 4, TG_SNIFF_TLS, 3);
    expect("\x16\3\0\2", 4, TG_SNIFF_NONE, 3);
    expect("\x16\3\5\2", 4, TG_SNIFF_NONE, 3);
    expect("GETX", 4, TG_SNIFF_NONE, 4);
    expect("PAST", 4, TG_SNIFF_NONE, 3);
    expect("SSH-1.5", 7, TG_SNIFF_NONE, 5);
    expect("\6\1", 2, TG_SNIFF_NONE, 1);
    expect("\0\21\x12\x34\1\0\0\1\0\0\0\0\0\1", 14, TG_SNIFF_DNS, 14);
    expect("\0\20\1\1", 4, TG_SNIFF_NONE, 2);  /* shorter than any query */
    expect("\1\1\1\1\x81", 5, TG_SNIFF_NONE, 5); /* an answer */
    expect("get /", 5, TG_SNIFF_NONE, 1);
    assert_string_equal(tg_sniffed_word(TG_SNIFF_SOCKS5), "socks5");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_verdicts) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
