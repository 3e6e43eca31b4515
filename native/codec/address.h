#pragma once

/** @file
 * Targets: a host and a port, the host an address or a name.  Their text form
 * ("example.com:443", "[2001:db8::1]:443", ":80") and the form of SOCKS
 * (`ATYP ADDR PORT`, RFC 1928 5), which relay, UDP-TUN and shadowsocks share.
 */

#include "codec/codec.h"

#include <stdbool.h>
#include <sys/socket.h>

#define TG_HOST_MAX 255u   /**< bytes of a name */
#define TG_HOST_TEXT 256u  /**< room for every host as text */
#define TG_TARGET_TEXT 264u /**< room for every target as text */
#define TG_SOCKS_ADDRESS_MAX 259u /**< room for every target in SOCKS form */

enum tg_host_kind {
    TG_HOST_EMPTY,
    TG_HOST_IPV4,
    TG_HOST_IPV6,
    TG_HOST_NAME,
};

struct tg_target {
    uint8_t kind; /**< enum tg_host_kind */
    uint8_t len;  /**< bytes in use of `ip` or `name`: 0, 4, 16 or the name's */
    uint16_t port;
    union {
        uint8_t ip[16];
        char name[TG_HOST_MAX]; /**< not NUL-terminated */
    };
};

/** How SOCKS form says that there is no host. */
enum tg_empty_host {
    TG_EMPTY_AS_IPV4, /**< 0.0.0.0: socks5, UDP frames */
    TG_EMPTY_AS_NAME, /**< a name of no bytes: relay */
};

/** What a host is written as.  An IPv4-mapped IPv6 address counts as IPv4; anything
 * that is no literal (zones included) is a name.  `text` may be of any length.
 * @param ip filled in for IPv4 (4 bytes) and IPv6 (16 bytes); may be NULL */
enum tg_host_kind tg_host_classify(const char *text, size_t len, uint8_t ip[16]);

/** Set the host; the port stays.  @return 0, or TG_LIMIT: longer than TG_HOST_MAX */
int tg_target_set_host(struct tg_target *t, const char *text, size_t len);

/** Split "host:port", "[v6]:port" or ":port".  With `port` ≥ 0 that is the port of a
 * text without one, and an IPv6 address may then come without brackets.
 * @param host within `text`, brackets taken off
 * @param port in: the default, or -1: a port is required; out: the port
 * @return 0, or TG_INVALID with *detail saying what is wrong */
int tg_target_split(const char *text, size_t len, struct tg_span *host, int *port,
                    const char **detail);

/** The same for whatever may stand in a configuration, and never fails: a text that has no port, or none
 * that is a number, is all host, and so is an IPv6 address without brackets.
 * @param port the digits after the last colon, of any number; none (len 0): no port */
void tg_address_parts(const char *text, size_t len, struct tg_span *host, struct tg_span *port);

/** The family of an address without brackets; IPv6 may have a zone ("fe80::1%eth0").
 * @param ip filled in: 4 or 16 bytes, as they are written
 * @return 4, 6, or 0: a name */
int tg_address_family(const char *text, size_t len, uint8_t ip[16]);

/** @return whether a text is "IPv4:port" or "[IPv6]:port", without a zone */
bool tg_address_is_literal(const char *text, size_t len);

/** Split and set.  @return 0, TG_INVALID or TG_LIMIT */
int tg_target_parse(struct tg_target *t, const char *text, size_t len);

/** Write the host as text (TG_HOST_TEXT bytes are enough), no brackets, no NUL.
 * @return its length */
size_t tg_target_host_text(const struct tg_target *t, char *out);

/** Write "host:port", brackets around what has a colon; TG_TARGET_TEXT bytes are
 * enough; no NUL.  @return its length */
size_t tg_target_text(const struct tg_target *t, char *out);

/** The same of a host that is text already.  `out` has room for len + 8.
 * @return the length */
size_t tg_host_join(const char *host, size_t len, unsigned port, char *out);

bool tg_target_equal(const struct tg_target *a, const struct tg_target *b);

/** Read SOCKS form.  A name of no bytes is the empty host; one with control
 * characters is TG_PROTOCOL, so that none gets into a log or a header.
 * The result keeps its form: IPv4-mapped stays IPv6, a literal as name a name. */
ssize_t tg_socks_address_decode(const uint8_t *in, size_t len, struct tg_target *out,
                                struct tg_error *err);

/** Write SOCKS form. */
ssize_t tg_socks_address_encode(const struct tg_target *t, enum tg_empty_host empty, uint8_t *out,
                                size_t size);

/** @return true when bytes a peer calls a name or user hold no control characters */
bool tg_name_is_clean(const uint8_t *name, size_t len);

static inline uint16_t tg_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static inline void tg_put_u16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}
