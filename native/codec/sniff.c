#include "codec/sniff.h"

#include <stdbool.h>
#include <string.h>

static const struct {
    const char *start;
    uint8_t len;
    uint8_t verdict;
} starts[] = {
    { "GET ", 4, TG_SNIFF_HTTP },     { "POST ", 5, TG_SNIFF_HTTP },
    { "PUT ", 4, TG_SNIFF_HTTP },     { "DELETE ", 7, TG_SNIFF_HTTP },
    { "OPTIONS ", 8, TG_SNIFF_HTTP }, { "PATCH ", 6, TG_SNIFF_HTTP },
    { "HEAD ", 5, TG_SNIFF_HTTP },    { "CONNECT ", 8, TG_SNIFF_HTTP },
    { "TRACE ", 6, TG_SNIFF_HTTP },   { "PRI * ", 6, TG_SNIFF_HTTP2 },
    { "SSH-2", 5, TG_SNIFF_SSH },     { "\x04", 1, TG_SNIFF_SOCKS4 },
    { "\x05", 1, TG_SNIFF_SOCKS5 },   { "*", 1, TG_SNIFF_REDIS },
    { "+", 1, TG_SNIFF_REDIS },       { "-", 1, TG_SNIFF_REDIS },
    { ":", 1, TG_SNIFF_REDIS },       { "$", 1, TG_SNIFF_REDIS },
    { "\x16\x03\x01", 3, TG_SNIFF_TLS }, { "\x16\x03\x02", 3, TG_SNIFF_TLS },
    { "\x16\x03\x03", 3, TG_SNIFF_TLS }, { "\x16\x03\x04", 3, TG_SNIFF_TLS },
};

ssize_t tg_sniff(const uint8_t *in, size_t len, enum tg_sniffed *out)
{
    bool open = len == 0;
    *out = TG_SNIFF_NONE;
    for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
        size_t n = starts[i].len < len ? starts[i].len : len;
        if (memcmp(in, starts[i].start, n) != 0)
            continue;
        if (n == starts[i].len) {
            *out = (enum tg_sniffed)starts[i].verdict;
            return 0;
        }
        open = true;
    }
    return open ? TG_AGAIN : 0;
}

const char *tg_sniffed_word(enum tg_sniffed s)
{
    static const char *const words[] = {
        [TG_SNIFF_NONE] = "none",     [TG_SNIFF_TLS] = "tls",       [TG_SNIFF_HTTP] = "http",
        [TG_SNIFF_HTTP2] = "http2",   [TG_SNIFF_SSH] = "ssh",       [TG_SNIFF_REDIS] = "redis",
        [TG_SNIFF_SOCKS4] = "socks4", [TG_SNIFF_SOCKS5] = "socks5",
    };
    return words[s];
}
