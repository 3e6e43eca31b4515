#include "packet/packet.h"

#include "codec/address.h"

#include <stdio.h>
#include <string.h>

static bool parse_port(const char *text, size_t len, uint16_t *port)
{
    unsigned value = 0;
    if (len == 0 || len > 5)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        value = value * 10 + (unsigned)(text[i] - '0');
    }
    *port = (uint16_t)value;
    return value <= 65535;
}

bool tg_peer_parse(struct tg_peer *peer, const char *text, size_t len)
{
    struct tg_addr addr;
    memset(peer, 0, sizeof(*peer));
    if (len > 0 && text[0] != ':' && tg_addr_parse(&addr, text, len)) {
        if (addr.any.sa_family == AF_INET)
            peer->in = addr.in;
        else if (addr.any.sa_family == AF_INET6)
            peer->in6 = addr.in6;
        tg_peer_unmap(peer);
        return peer->any.sa_family != 0;
    }
    const char *colon = memrchr(text, ':', len);
    size_t host = colon != NULL ? (size_t)(colon - text) : 0;
    if (host == 0 || host > 255 || memchr(text, ':', host) != NULL || memchr(text, 0, len) != NULL)
        return false;
    peer->name = text;
    peer->name_len = (uint8_t)host;
    return parse_port(colon + 1, len - host - 1, &peer->name_port);
}

size_t tg_peer_format(const struct tg_peer *peer, char *out, size_t size)
{
    if (peer->any.sa_family != 0)
        return tg_sockaddr_format(&peer->any, tg_peer_len(peer), out, size);
    int n = snprintf(out, size, "%.*s:%u", (int)peer->name_len,
                     peer->name_len > 0 ? peer->name : "", peer->name_port);
    return (size_t)n < size ? (size_t)n : size - 1;
}

void tg_peer_unmap(struct tg_peer *peer)
{
    if (peer->any.sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&peer->in6.sin6_addr))
        return;
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = peer->in6.sin6_port };
    memcpy(&in.sin_addr, &peer->in6.sin6_addr.s6_addr[12], 4);
    peer->in = in;
}

bool tg_peer_equal(const struct tg_peer *a, const struct tg_peer *b)
{
    if (a->any.sa_family != b->any.sa_family)
        return false;
    if (a->any.sa_family == AF_INET)
        return a->in.sin_port == b->in.sin_port && a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
    if (a->any.sa_family == AF_INET6)
        return a->in6.sin6_port == b->in6.sin6_port &&
               a->in6.sin6_scope_id == b->in6.sin6_scope_id &&
               memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, 16) == 0;
    return a->name_len == b->name_len && a->name_port == b->name_port &&
           memcmp(a->name, b->name, a->name_len) == 0;
}

ssize_t tg_peer_decode(const uint8_t *in, size_t len, struct tg_peer *peer, struct tg_error *err)
{
    struct tg_target target;
    ssize_t n = tg_socks_address_decode(in, len, &target, err);
    if (n <= 0)
        return n;
    memset(peer, 0, sizeof(*peer));
    switch (target.kind) {
    case TG_HOST_IPV6:
        peer->in6.sin6_family = AF_INET6;
        peer->in6.sin6_port = htons(target.port);
        memcpy(&peer->in6.sin6_addr, target.ip, 16);
        tg_peer_unmap(peer);
        break;
    case TG_HOST_NAME:
        peer->name = (const char *)in + 2;
        peer->name_len = target.len;
        peer->name_port = target.port;
        break;
    default:
        peer->in.sin_family = AF_INET;
        peer->in.sin_port = htons(target.port);
        if (target.kind == TG_HOST_IPV4)
            memcpy(&peer->in.sin_addr, target.ip, 4);
        break;
    }
    return n;
}

size_t tg_peer_encode(const struct tg_peer *peer, uint8_t *out)
{
    if (peer->any.sa_family == AF_INET6) {
        out[0] = 4;
        memcpy(out + 1, &peer->in6.sin6_addr, 16);
        memcpy(out + 17, &peer->in6.sin6_port, 2);
        return 19;
    }
    if (tg_peer_is_name(peer)) {
        out[0] = 3;
        out[1] = peer->name_len;
        memcpy(out + 2, peer->name, peer->name_len);
        tg_put_u16(out + 2 + peer->name_len, peer->name_port);
        return (size_t)peer->name_len + 4;
    }
    out[0] = 1;
    memset(out + 1, 0, 6);
    if (peer->any.sa_family == AF_INET) {
        memcpy(out + 1, &peer->in.sin_addr, 4);
        memcpy(out + 5, &peer->in.sin_port, 2);
    }
    return 7;
}
