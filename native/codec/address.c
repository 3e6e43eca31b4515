#include "codec/address.h"

#include <arpa/inet.h>
#include <string.h>

enum { ATYP_IPV4 = 1, ATYP_NAME = 3, ATYP_IPV6 = 4 };

static const uint8_t mapped_prefix[12] = { [10] = 0xff, [11] = 0xff };

static bool parse_ipv4(const char *text, size_t len, uint8_t ip[4])
{
    if (len < 7 || len > 15)
        return false;
    const char *end = text + len;
    for (int part = 0; part < 4; part++) {
        const char *begin = text;
        unsigned value = 0;
        while (text < end && *text >= '0' && *text <= '9' && text - begin < 3)
            value = value * 10 + (unsigned)(*text++ - '0');
        /* Leading zeros are octal to some and decimal to others. */
        if (text == begin || value > 255 || (*begin == '0' && text - begin > 1))
            return false;
        ip[part] = (uint8_t)value;
        if (part < 3 && (text == end || *text++ != '.'))
            return false;
    }
    return text == end;
}

static bool parse_ipv6(const char *text, size_t len, uint8_t ip[16])
{
    char copy[INET6_ADDRSTRLEN];
    if (len < 2 || len >= sizeof(copy) || memchr(text, ':', len) == NULL ||
        memchr(text, 0, len) != NULL)
        return false;
    memcpy(copy, text, len);
    copy[len] = 0;
    return inet_pton(AF_INET6, copy, ip) == 1;
}

enum tg_host_kind tg_host_classify(const char *text, size_t len, uint8_t ip[16])
{
    uint8_t local[16];
    if (ip == NULL)
        ip = local;
    if (len == 0)
        return TG_HOST_EMPTY;
    if (text[0] >= '0' && text[0] <= '9' && parse_ipv4(text, len, ip))
        return TG_HOST_IPV4;
    if (!parse_ipv6(text, len, ip))
        return TG_HOST_NAME;
    if (memcmp(ip, mapped_prefix, sizeof(mapped_prefix)) != 0)
        return TG_HOST_IPV6;
    memmove(ip, ip + 12, 4);
    return TG_HOST_IPV4;
}

int tg_target_set_host(struct tg_target *t, const char *text, size_t len)
{
    if (len > TG_HOST_MAX)
        return TG_LIMIT;
    t->kind = (uint8_t)tg_host_classify(text, len, t->ip);
    switch (t->kind) {
    case TG_HOST_IPV4:
        t->len = 4;
        break;
    case TG_HOST_IPV6:
        t->len = 16;
        break;
    default:
        t->len = (uint8_t)len;
        if (len > 0)
            memcpy(t->name, text, len);
    }
    return 0;
}

static bool parse_port(const char *text, size_t len, int *port)
{
    int value = 0;
    if (len == 0 || len > 5)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        value = value * 10 + (text[i] - '0');
    }
    *port = value;
    return value <= 65535;
}

/* The host of "[v6]" or "[v6]:port"; *rest is what follows the bracket. */
static bool split_bracket(const char *text, size_t len, struct tg_span *host, size_t *rest)
{
    const char *close = memchr(text, ']', len);
    if (close == NULL)
        return false;
    *host = (struct tg_span){ (const uint8_t *)text + 1, (size_t)(close - text) - 1 };
    *rest = (size_t)(close - text) + 1;
    return true;
}

int tg_target_split(const char *text, size_t len, struct tg_span *host, int *port,
                    const char **detail)
{
    size_t colon;
    if (len > 0 && text[0] == '[') {
        *detail = "a bracket is not closed";
        if (!split_bracket(text, len, host, &colon))
            return TG_INVALID;
        *detail = "something else than a port follows the bracket";
        if (colon < len && text[colon] != ':')
            return TG_INVALID;
    } else {
        const char *first = len > 0 ? memchr(text, ':', len) : NULL;
        colon = first != NULL ? (size_t)(first - text) : len;
        if (first != NULL && memchr(first + 1, ':', len - colon - 1) != NULL) {
            *detail = "an IPv6 address needs brackets";
            if (*port < 0 || tg_host_classify(text, len, NULL) == TG_HOST_NAME)
                return TG_INVALID;
            colon = len;
        }
        *host = (struct tg_span){ (const uint8_t *)text, colon };
    }
    if (colon == len) {
        *detail = "the port is missing";
        return *port < 0 ? TG_INVALID : 0;
    }
    *detail = "the port is not a number from 0 to 65535";
    return parse_port(text + colon + 1, len - colon - 1, port) ? 0 : TG_INVALID;
}

static struct tg_span span(const char *text, size_t len)
{
    return (struct tg_span){ (const uint8_t *)text, len };
}

static bool has_colon_or_bracket(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] == ':' || text[i] == '[' || text[i] == ']')
            return true;
    return false;
}

void tg_address_parts(const char *text, size_t len, struct tg_span *host, struct tg_span *port)
{
    size_t at = len;
    while (at > 0 && text[at - 1] >= '0' && text[at - 1] <= '9')
        at--;
    size_t bare = at > 0 && text[at - 1] == ':' ? at - 1 : len; /* where the port's colon is */
    bool bracket = len > 1 && text[0] == '[';
    *port = span(text + at, bare < len ? len - at : 0);
    *host = span(text, len);
    if (port->len > 0 && bracket && bare > 1 && text[bare - 1] == ']') {
        *host = span(text + 1, bare - 2);
        return;
    }
    if (port->len > 0 && !has_colon_or_bracket(text, bare)) {
        *host = span(text, bare);
        return;
    }
    *port = span(text + len, 0);
    if (bracket && text[len - 1] == ']')
        *host = span(text + 1, len - 2);
    else if (bracket && len > 2 && text[len - 1] == ':' && text[len - 2] == ']')
        *host = span(text + 1, len - 3);
    else if (len > 0 && text[len - 1] == ':' && memchr(text, ':', len - 1) == NULL)
        *host = span(text, len - 1);
}

/* Bytes before the zone of an address, all of them when it has none. */
static size_t without_zone(const char *text, size_t len)
{
    const char *percent = memchr(text, '%', len);
    if (percent == NULL || percent + 1 == text + len)
        return len;
    for (const char *c = percent + 1; c < text + len; c++) {
        bool word = (*c >= '0' && *c <= '9') || ((*c | 32) >= 'a' && (*c | 32) <= 'z');
        if (!word && *c != '.' && *c != '_' && *c != '-')
            return len;
    }
    return (size_t)(percent - text);
}

int tg_address_family(const char *text, size_t len, uint8_t ip[16])
{
    if (len > 0 && text[0] >= '0' && text[0] <= '9' && parse_ipv4(text, len, ip))
        return 4;
    return len > 0 && parse_ipv6(text, without_zone(text, len), ip) ? 6 : 0;
}

bool tg_address_is_literal(const char *text, size_t len)
{
    struct tg_span host, port;
    uint8_t ip[16];
    int value;
    if (len == 0)
        return false;
    tg_address_parts(text, len, &host, &port);
    if (!parse_port((const char *)port.data, port.len, &value))
        return false;
    if (text[0] != '[')
        return parse_ipv4((const char *)host.data, host.len, ip);
    enum tg_host_kind kind = tg_host_classify((const char *)host.data, host.len, ip);
    return kind == TG_HOST_IPV4 || kind == TG_HOST_IPV6;
}

int tg_target_parse(struct tg_target *t, const char *text, size_t len)
{
    struct tg_span host;
    const char *detail;
    int port = -1;
    if (tg_target_split(text, len, &host, &port, &detail) < 0)
        return TG_INVALID;
    t->port = (uint16_t)port;
    return tg_target_set_host(t, (const char *)host.data, host.len);
}

static size_t put_decimal(char *out, unsigned value)
{
    char digits[5];
    size_t n = 0, i = 0;
    do
        digits[n++] = (char)('0' + value % 10);
    while ((value /= 10) > 0);
    while (n > 0)
        out[i++] = digits[--n];
    return i;
}

static size_t put_ipv4(char *out, const uint8_t ip[4])
{
    size_t n = 0;
    for (int i = 0; i < 4; i++) {
        if (i > 0)
            out[n++] = '.';
        n += put_decimal(out + n, ip[i]);
    }
    return n;
}

size_t tg_target_host_text(const struct tg_target *t, char *out)
{
    switch (t->kind) {
    case TG_HOST_IPV4:
        return put_ipv4(out, t->ip);
    case TG_HOST_IPV6:
        inet_ntop(AF_INET6, t->ip, out, INET6_ADDRSTRLEN);
        return strlen(out);
    default:
        memcpy(out, t->name, t->len);
        return t->len;
    }
}

size_t tg_host_join(const char *host, size_t len, unsigned port, char *out)
{
    bool brackets = len > 0 && host[0] != '[' && memchr(host, ':', len) != NULL;
    size_t n = 0;
    if (brackets)
        out[n++] = '[';
    memcpy(out + n, host, len);
    n += len;
    if (brackets)
        out[n++] = ']';
    out[n++] = ':';
    return n + put_decimal(out + n, port);
}

size_t tg_target_text(const struct tg_target *t, char *out)
{
    char host[TG_HOST_TEXT];
    return tg_host_join(host, tg_target_host_text(t, host), t->port, out);
}

bool tg_target_equal(const struct tg_target *a, const struct tg_target *b)
{
    return a->kind == b->kind && a->len == b->len && a->port == b->port &&
           memcmp(a->name, b->name, a->len) == 0;
}

bool tg_name_is_clean(const uint8_t *name, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (name[i] < 0x20 || name[i] == 0x7f)
            return false;
    return true;
}

ssize_t tg_socks_address_decode(const uint8_t *in, size_t len, struct tg_target *out,
                                struct tg_error *err)
{
    if (len < 1)
        return TG_AGAIN;
    size_t at = 1, need;
    switch (in[0]) {
    case ATYP_IPV4:
        out->kind = TG_HOST_IPV4;
        need = 4;
        break;
    case ATYP_IPV6:
        out->kind = TG_HOST_IPV6;
        need = 16;
        break;
    case ATYP_NAME:
        if (len < 2)
            return TG_AGAIN;
        need = in[at++];
        out->kind = need > 0 ? TG_HOST_NAME : TG_HOST_EMPTY;
        break;
    default:
        return tg_error_put(err, "address", "decode", TG_PROTOCOL, "unknown address type");
    }
    if (len < at + need + 2)
        return TG_AGAIN;
    if (out->kind == TG_HOST_NAME && !tg_name_is_clean(in + at, need))
        return tg_error_put(err, "address", "decode", TG_PROTOCOL,
                            "a host name with control characters");
    out->len = (uint8_t)need;
    memcpy(out->ip, in + at, need);
    out->port = tg_u16(in + at + need);
    return (ssize_t)(at + need + 2);
}

ssize_t tg_socks_address_encode(const struct tg_target *t, enum tg_empty_host empty, uint8_t *out,
                                size_t size)
{
    static const uint8_t zeros[4];
    const uint8_t *bytes = t->ip;
    size_t n = t->len, at = 1;
    uint8_t type;
    switch (t->kind) {
    case TG_HOST_IPV4:
        type = ATYP_IPV4;
        break;
    case TG_HOST_IPV6:
        type = ATYP_IPV6;
        break;
    default:
        type = ATYP_NAME;
        if (t->kind == TG_HOST_EMPTY && empty == TG_EMPTY_AS_IPV4) {
            type = ATYP_IPV4;
            bytes = zeros;
            n = 4;
        }
    }
    if (size < (type == ATYP_NAME) + n + 3)
        return TG_LIMIT;
    out[0] = type;
    if (type == ATYP_NAME)
        out[at++] = (uint8_t)n;
    memcpy(out + at, bytes, n);
    tg_put_u16(out + at + n, t->port);
    return (ssize_t)(at + n + 2);
}
