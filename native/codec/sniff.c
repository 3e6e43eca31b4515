#include "codec/sniff.h"

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

#define DNS_HEAD 12u
#define DNS_QUERY_MIN 17u   /* a head, the root's name, type and class */
#define DNS_QUERY_MAX 1023u /* longer ones make no sense: keys, cookies and padding fit */
#define DNS_ADDITIONAL 2u   /* EDNS0, and a signature */

/* The head of a DNS query: QUERY, one question, no answers, nothing that only servers say. */
static const struct {
    uint8_t mask, value;
} query_head[DNS_HEAD] = {
    { 0x00, 0 }, { 0x00, 0 },    /* ID */
    { 0xfe, 0 }, { 0xcf, 0 },    /* RD, AD and CD may be set */
    { 0xff, 0 }, { 0xff, 1 },    /* QDCOUNT */
    { 0xff, 0 }, { 0xff, 0 },    /* ANCOUNT */
    { 0xff, 0 }, { 0xff, 0 },    /* NSCOUNT */
    { 0xff, 0 }, { 0x00, 0 },    /* ARCOUNT: see looks_like_query() */
};

static bool looks_like_query(const uint8_t *in, size_t len)
{
    for (size_t i = 0; i < DNS_HEAD && i < len; i++)
        if ((in[i] & query_head[i].mask) != query_head[i].value)
            return false;
    return len < DNS_HEAD || in[DNS_HEAD - 1] <= DNS_ADDITIONAL;
}

bool tg_sniff_dns(const uint8_t *in, size_t len)
{
    return len >= DNS_QUERY_MIN && looks_like_query(in, len);
}

/* The same behind a length.  @return 0 with a verdict, or TG_AGAIN */
static ssize_t sniff_framed_dns(const uint8_t *in, size_t len, enum tg_sniffed *out)
{
    if (len > 0 && in[0] > DNS_QUERY_MAX >> 8)
        return 0;
    if (len < 2)
        return TG_AGAIN;
    unsigned size = (unsigned)in[0] << 8 | in[1];
    if (size < DNS_QUERY_MIN || !looks_like_query(in + 2, len - 2))
        return 0;
    if (len < 2 + DNS_HEAD)
        return TG_AGAIN;
    *out = TG_SNIFF_DNS;
    return 0;
}

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
    return open ? TG_AGAIN : sniff_framed_dns(in, len, out);
}

const char *tg_sniffed_word(enum tg_sniffed s)
{
    static const char *const words[] = {
        [TG_SNIFF_NONE] = "none",     [TG_SNIFF_TLS] = "tls",       [TG_SNIFF_HTTP] = "http",
        [TG_SNIFF_HTTP2] = "http2",   [TG_SNIFF_SSH] = "ssh",       [TG_SNIFF_REDIS] = "redis",
        [TG_SNIFF_SOCKS4] = "socks4", [TG_SNIFF_SOCKS5] = "socks5",
        [TG_SNIFF_DNS] = "dns",
    };
    return words[s];
}
