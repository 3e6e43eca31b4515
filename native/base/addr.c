#include "base/addr.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool parse_unix(struct tg_addr *a, const char *path, size_t len)
{
    if (len == 0 || len >= sizeof(a->un.sun_path))
        return false;
    memset(a, 0, sizeof(*a));
    a->un.sun_family = AF_UNIX;
    memcpy(a->un.sun_path, path, len);
    a->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
    if (path[0] == '@') { /* abstract: a leading NUL, and no terminating one */
        a->un.sun_path[0] = 0;
        a->len--;
    }
    return true;
}

static bool parse_port(const char *text, size_t len, unsigned *port)
{
    if (len == 0 || len > 5)
        return false;
    unsigned value = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        value = value * 10 + (unsigned)(text[i] - '0');
    }
    *port = value;
    return value <= 65535;
}

static bool parse_host(struct tg_addr *a, const char *host, size_t len)
{
    char text[INET6_ADDRSTRLEN + IF_NAMESIZE + 1];
    if (len >= sizeof(text))
        return false;
    memcpy(text, host, len);
    text[len] = 0;
    memset(a, 0, sizeof(*a));
    if (inet_pton(AF_INET, text, &a->in.sin_addr) == 1) {
        a->in.sin_family = AF_INET;
        a->len = sizeof(a->in);
        return true;
    }
    char *zone = strchr(text, '%');
    if (zone != NULL)
        *zone++ = 0;
    if (len > 0 && inet_pton(AF_INET6, text, &a->in6.sin6_addr) != 1)
        return false;
    a->in6.sin6_family = AF_INET6;
    if (zone != NULL) {
        unsigned scope = if_nametoindex(zone);
        a->in6.sin6_scope_id = scope != 0 ? scope : (unsigned)strtoul(zone, NULL, 10);
    }
    a->len = sizeof(a->in6);
    return true;
}

bool tg_addr_parse(struct tg_addr *a, const char *text, size_t len)
{
    if (len > 5 && memcmp(text, "unix:", 5) == 0)
        return parse_unix(a, text + 5, len - 5);
    if (memchr(text, 0, len) != NULL)
        return false;
    const char *colon = memrchr(text, ':', len);
    if (colon == NULL)
        return false;
    unsigned port;
    if (!parse_port(colon + 1, len - (size_t)(colon + 1 - text), &port))
        return false;
    const char *host = text;
    size_t host_len = (size_t)(colon - text);
    if (host_len >= 2 && host[0] == '[' && host[host_len - 1] == ']') {
        host++;
        host_len -= 2;
    } else if (memchr(host, ':', host_len) != NULL) {
        return false; /* IPv6 needs its brackets, or the port would be a guess */
    }
    if (!parse_host(a, host, host_len))
        return false;
    tg_addr_set_port(a, port);
    return true;
}

static size_t clip(int n, size_t size)
{
    if (n < 0)
        return 0;
    return (size_t)n < size ? (size_t)n : size - 1;
}

static size_t format_unix(const struct sockaddr_un *un, socklen_t len, char *out, size_t size)
{
    size_t head = offsetof(struct sockaddr_un, sun_path);
    if (len <= head)
        return clip(snprintf(out, size, "@"), size);
    size_t n = len - head;
    if (un->sun_path[0] == 0)
        return clip(snprintf(out, size, "@%.*s", (int)(n - 1), un->sun_path + 1), size);
    return clip(snprintf(out, size, "%.*s", (int)n, un->sun_path), size);
}

/* Hot: once or twice per connection in logs and rules. */
static size_t format_v4(const uint8_t ip[4], unsigned port, char *out, size_t size)
{
    char text[24];
    char *p = text;
    for (int i = 0; i < 4; i++) {
        unsigned v = ip[i];
        if (v >= 100)
            *p++ = (char)('0' + v / 100);
        if (v >= 10)
            *p++ = (char)('0' + v / 10 % 10);
        *p++ = (char)('0' + v % 10);
        *p++ = i < 3 ? '.' : ':';
    }
    char digits[6];
    int n = 0;
    do
        digits[n++] = (char)('0' + port % 10);
    while ((port /= 10) > 0);
    while (n > 0)
        *p++ = digits[--n];
    size_t len = (size_t)(p - text);
    if (len >= size)
        len = size - 1;
    memcpy(out, text, len);
    out[len] = 0;
    return len;
}

size_t tg_sockaddr_format(const struct sockaddr *sa, socklen_t len, char *out, size_t size)
{
    if (len == 0 || size == 0)
        return 0;
    if (sa->sa_family == AF_UNIX)
        return format_unix((const struct sockaddr_un *)sa, len, out, size);
    if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)sa;
        return format_v4((const uint8_t *)&in->sin_addr, ntohs(in->sin_port), out, size);
    }
    if (sa->sa_family != AF_INET6)
        return clip(snprintf(out, size, "?"), size);
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;
    if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
        return format_v4(in6->sin6_addr.s6_addr + 12, ntohs(in6->sin6_port), out, size);
    char host[INET6_ADDRSTRLEN], zone[IF_NAMESIZE + 1] = "";
    inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
    if (in6->sin6_scope_id != 0 && if_indextoname(in6->sin6_scope_id, zone + 1) != NULL)
        zone[0] = '%';
    return clip(snprintf(out, size, "[%s%s]:%u", host, zone, ntohs(in6->sin6_port)), size);
}

size_t tg_addr_format(const struct tg_addr *a, char *out, size_t size)
{
    return tg_sockaddr_format(&a->any, a->len, out, size);
}

void tg_addr_set_port(struct tg_addr *a, unsigned port)
{
    if (a->any.sa_family == AF_INET)
        a->in.sin_port = htons((uint16_t)port);
    else if (a->any.sa_family == AF_INET6)
        a->in6.sin6_port = htons((uint16_t)port);
}
