#include "packet/packet.h"

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

void tg_peer_from_target(struct tg_peer *peer, const struct tg_target *target, const uint8_t *name)
{
    memset(peer, 0, sizeof(*peer));
    switch (target->kind) {
    case TG_HOST_IPV6:
        peer->in6.sin6_family = AF_INET6;
        peer->in6.sin6_port = htons(target->port);
        memcpy(&peer->in6.sin6_addr, target->ip, 16);
        tg_peer_unmap(peer);
        break;
    case TG_HOST_NAME:
        peer->name = (const char *)name;
        peer->name_len = target->len;
        peer->name_port = target->port;
        break;
    default:
        peer->in.sin_family = AF_INET;
        peer->in.sin_port = htons(target->port);
        if (target->kind == TG_HOST_IPV4)
            memcpy(&peer->in.sin_addr, target->ip, 4);
        break;
    }
}

void tg_peer_to_target(const struct tg_peer *peer, struct tg_target *target)
{
    if (tg_peer_is_name(peer)) {
        target->kind = TG_HOST_NAME;
        target->len = peer->name_len;
        target->port = peer->name_port;
        memcpy(target->name, peer->name, peer->name_len);
    } else if (peer->any.sa_family == AF_INET6) {
        target->kind = TG_HOST_IPV6;
        target->len = 16;
        target->port = ntohs(peer->in6.sin6_port);
        memcpy(target->ip, &peer->in6.sin6_addr, 16);
    } else {
        target->kind = TG_HOST_IPV4;
        static const struct sockaddr_in nobody;
        const struct sockaddr_in *in = peer->any.sa_family == AF_INET ? &peer->in : &nobody;
        target->len = 4;
        target->port = ntohs(in->sin_port);
        memcpy(target->ip, &in->sin_addr, 4);
    }
}
