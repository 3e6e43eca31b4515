#include "codec/proxy_header.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

static const uint8_t signature[12] = "\r\n\r\n\0\r\nQUIT\n";

static int broken(struct tg_error *err, const char *detail)
{
    return tg_error_put(err, "proxy protocol", "decode", TG_PROTOCOL, detail);
}

/* The bytes up to the next blank, which is stepped over.  @return false: there is none */
static bool take_word(const uint8_t **at, const uint8_t *end, struct tg_span *word)
{
    const uint8_t *blank = memchr(*at, ' ', (size_t)(end - *at));
    if (blank == NULL)
        return false;
    *word = (struct tg_span){ *at, (size_t)(blank - *at) };
    *at = blank + 1;
    return true;
}

static bool read_ip(struct tg_span word, int family, struct tg_target *t)
{
    char text[INET6_ADDRSTRLEN];
    if (word.len >= sizeof(text) || memchr(word.data, 0, word.len) != NULL)
        return false;
    memcpy(text, word.data, word.len);
    text[word.len] = 0;
    t->kind = family == AF_INET ? TG_HOST_IPV4 : TG_HOST_IPV6;
    t->len = family == AF_INET ? 4 : 16;
    return inet_pton(family, text, t->ip) == 1;
}

static bool read_port(const uint8_t *at, size_t len, struct tg_target *t)
{
    unsigned port = 0;
    if (len == 0 || len > 5)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (at[i] < '0' || at[i] > '9')
            return false;
        port = port * 10 + (at[i] - '0');
    }
    t->port = (uint16_t)port;
    return port <= 65535;
}

/* "192.0.2.1 198.51.100.7 51234 443" */
static int read_v1_addresses(const uint8_t *at, const uint8_t *end, int family,
                             struct tg_proxy_header *out, struct tg_error *err)
{
    struct tg_span src, dst, port;
    if (!take_word(&at, end, &src) || !take_word(&at, end, &dst) || !take_word(&at, end, &port) ||
        !read_ip(src, family, &out->src) || !read_ip(dst, family, &out->dst) ||
        !read_port(port.data, port.len, &out->src) ||
        !read_port(at, (size_t)(end - at), &out->dst))
        return broken(err, "malformed addresses in a version 1 header");
    out->kind = TG_PROXY_PROXY;
    return 0;
}

static ssize_t decode_v1(const uint8_t *in, size_t len, struct tg_proxy_header *out,
                         struct tg_error *err)
{
    size_t room = len < TG_PROXY_V1_MAX ? len : TG_PROXY_V1_MAX;
    const uint8_t *lf = memchr(in, '\n', room);
    if (lf == NULL)
        return len < TG_PROXY_V1_MAX ? TG_AGAIN : broken(err, "a version 1 header has no end");
    if (lf[-1] != '\r')
        return broken(err, "line feed alone");
    const uint8_t *at = in + 6, *end = lf - 1;
    size_t rest = end > at ? (size_t)(end - at) : 0;
    int rc = 0;
    out->version = 1;
    if (rest >= 5 && memcmp(at, "TCP4 ", 5) == 0)
        rc = read_v1_addresses(at + 5, end, AF_INET, out, err);
    else if (rest >= 5 && memcmp(at, "TCP6 ", 5) == 0)
        rc = read_v1_addresses(at + 5, end, AF_INET6, out, err);
    else if (rest >= 7 && memcmp(at, "UNKNOWN", 7) == 0 && (rest == 7 || at[7] == ' '))
        out->kind = TG_PROXY_LOCAL;
    else
        rc = broken(err, "neither TCP4, TCP6 nor UNKNOWN");
    return rc < 0 ? rc : lf + 1 - in;
}

static void take_ip(struct tg_target *t, enum tg_host_kind kind, const uint8_t *ip,
                    const uint8_t *port)
{
    t->kind = (uint8_t)kind;
    t->len = kind == TG_HOST_IPV4 ? 4 : 16;
    memcpy(t->ip, ip, t->len);
    t->port = tg_u16(port);
}

static int read_v2_addresses(const uint8_t *in, size_t size, uint8_t family,
                             struct tg_proxy_header *out, struct tg_error *err)
{
    size_t ip, taken;
    switch (family) {
    case 0x00:
        taken = ip = 0;
        break;
    case 0x11:
    case 0x12:
        ip = 4;
        taken = 12;
        break;
    case 0x21:
    case 0x22:
        ip = 16;
        taken = 36;
        break;
    case 0x31:
    case 0x32:
        ip = 0;
        taken = 216;
        break;
    default:
        return broken(err, "unknown family or protocol");
    }
    if (size < taken)
        return broken(err, "too short for its addresses");
    out->tlvs = (struct tg_span){ in + taken, size - taken };
    if (ip == 0)
        return 0;
    enum tg_host_kind kind = ip == 4 ? TG_HOST_IPV4 : TG_HOST_IPV6;
    take_ip(&out->src, kind, in, in + 2 * ip);
    take_ip(&out->dst, kind, in + ip, in + 2 * ip + 2);
    out->udp = (family & 0x0f) == 2;
    out->kind = TG_PROXY_PROXY;
    return 0;
}

static ssize_t decode_v2(const uint8_t *in, size_t len, struct tg_proxy_header *out,
                         struct tg_error *err)
{
    if (len >= 13 && in[12] != 0x20 && in[12] != 0x21)
        return broken(err, "neither LOCAL nor PROXY of version 2");
    if (len < 16)
        return TG_AGAIN;
    size_t size = tg_u16(in + 14);
    if (16 + size > TG_PROXY_V2_MAX)
        return tg_error_put(err, "proxy protocol", "decode", TG_LIMIT, "the header is too long");
    if (len < 16 + size)
        return TG_AGAIN;
    out->version = 2;
    out->kind = TG_PROXY_LOCAL;
    if (in[12] == 0x21) {
        int rc = read_v2_addresses(in + 16, size, in[13], out, err);
        if (rc < 0)
            return rc;
    }
    return (ssize_t)(16 + size);
}

ssize_t tg_proxy_header_decode(const uint8_t *in, size_t len, struct tg_proxy_header *out,
                               struct tg_error *err)
{
    out->kind = TG_PROXY_NONE;
    out->version = 0;
    out->udp = false;
    out->tlvs = (struct tg_span){ NULL, 0 };
    if (len == 0)
        return TG_AGAIN;
    bool first = in[0] == 'P';
    const uint8_t *start = first ? (const uint8_t *)"PROXY " : signature;
    size_t size = first ? 6 : sizeof(signature);
    if (memcmp(in, start, len < size ? len : size) != 0)
        return 0;
    if (len < size)
        return TG_AGAIN;
    return first ? decode_v1(in, len, out, err) : decode_v2(in, len, out, err);
}

/* An address as it is written: anything but an IP address, and "::", is 0.0.0.0. */
static struct tg_target normalise(const struct tg_target *t)
{
    static const uint8_t zeros[16];
    if (t->kind == TG_HOST_IPV4 || (t->kind == TG_HOST_IPV6 && memcmp(t->ip, zeros, 16) != 0))
        return *t;
    return (struct tg_target){ .kind = TG_HOST_IPV4, .len = 4, .port = t->port };
}

/* The 16 bytes of an address, IPv4 mapped. */
static void put_ipv6(uint8_t *out, const struct tg_target *t)
{
    static const uint8_t prefix[12] = { [10] = 0xff, [11] = 0xff };
    if (t->kind == TG_HOST_IPV6) {
        memcpy(out, t->ip, 16);
        return;
    }
    memcpy(out, prefix, 12);
    memcpy(out + 12, t->ip, 4);
}

static ssize_t encode_v1(const struct tg_target *src, const struct tg_target *dst, uint8_t *out,
                         size_t size)
{
    char from[TG_HOST_TEXT], to[TG_HOST_TEXT], line[TG_PROXY_V1_MAX + 1];
    from[tg_target_host_text(src, from)] = 0;
    to[tg_target_host_text(dst, to)] = 0;
    int n = snprintf(line, sizeof(line), "PROXY TCP%d %s %s %u %u\r\n",
                     src->kind == TG_HOST_IPV4 ? 4 : 6, from, to, src->port, dst->port);
    if (n < 0 || (size_t)n >= sizeof(line) || (size_t)n > size)
        return TG_LIMIT;
    memcpy(out, line, (size_t)n);
    return n;
}

static ssize_t encode_v2(const struct tg_proxy_header *h, const struct tg_target *src,
                         const struct tg_target *dst, uint8_t *out, size_t size)
{
    bool v4 = src->kind == TG_HOST_IPV4, local = h->kind != TG_PROXY_PROXY;
    size_t ip = v4 ? 4 : 16, addresses = local ? 0 : 2 * ip + 4;
    if (size < 16 + addresses)
        return TG_LIMIT;
    memcpy(out, signature, sizeof(signature));
    out[12] = local ? 0x20 : 0x21;
    out[13] = local ? 0 : (uint8_t)((v4 ? 0x10 : 0x20) | (h->udp ? 2 : 1));
    tg_put_u16(out + 14, (unsigned)addresses);
    if (local)
        return 16;
    uint8_t *p = out + 16;
    if (v4) {
        memcpy(p, src->ip, 4);
        memcpy(p + 4, dst->ip, 4);
    } else {
        put_ipv6(p, src);
        put_ipv6(p + 16, dst);
    }
    tg_put_u16(p + 2 * ip, src->port);
    tg_put_u16(p + 2 * ip + 2, dst->port);
    return (ssize_t)(16 + addresses);
}

ssize_t tg_proxy_header_encode(const struct tg_proxy_header *h, uint8_t *out, size_t size)
{
    static const char unknown[] = "PROXY UNKNOWN\r\n";
    struct tg_target src = { .kind = TG_HOST_EMPTY }, dst = src;
    if (h->version == 1 && (h->kind != TG_PROXY_PROXY || h->udp)) {
        if (size < sizeof(unknown) - 1)
            return TG_LIMIT;
        memcpy(out, unknown, sizeof(unknown) - 1);
        return sizeof(unknown) - 1;
    }
    if (h->kind == TG_PROXY_PROXY) {
        src = normalise(&h->src);
        dst = normalise(&h->dst);
        if (src.kind == TG_HOST_IPV4 && dst.kind == TG_HOST_IPV6)
            return TG_INVALID;
    }
    return h->version == 1 ? encode_v1(&src, &dst, out, size) : encode_v2(h, &src, &dst, out, size);
}
