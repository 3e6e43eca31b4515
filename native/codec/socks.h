#pragma once

/** @file
 * The handshakes of SOCKS4, SOCKS4a and SOCKS5 (RFC 1928, RFC 1929).
 *
 * Decoders are strict about versions and lengths and tell a wrong first byte at
 * once; reserved bytes are ignored.
 */

#include "codec/address.h"

enum tg_socks5_method {
    TG_SOCKS5_NO_AUTH = 0x00,
    TG_SOCKS5_USER_PASS = 0x02,
    TG_SOCKS5_TLS = 0x80,      /**< gost: TLS, then no authentication */
    TG_SOCKS5_TLS_AUTH = 0x82, /**< gost: TLS, then RFC 1929 inside */
    TG_SOCKS5_NO_METHOD = 0xff,
};

enum tg_socks5_command {
    TG_SOCKS5_CONNECT = 0x01,
    TG_SOCKS5_BIND = 0x02,
    TG_SOCKS5_ASSOCIATE = 0x03,
    TG_SOCKS5_RESOLVE = 0xf0,
    TG_SOCKS5_RESOLVE_PTR = 0xf1,
    TG_SOCKS5_MBIND = 0xf2,   /**< gost: bind, peers as streams of a mux */
    TG_SOCKS5_UDP_TUN = 0xf3, /**< gost: datagrams on this connection */
};

#define TG_SOCKS5_GREETING_MAX 257u
#define TG_SOCKS5_AUTH_MAX 513u
#define TG_SOCKS5_MESSAGE_MAX 262u /**< request or reply */
#define TG_SOCKS4_REQUEST_MAX 520u
#define TG_SOCKS4_REPLY_SIZE 8u

/** C: `05 N methods`.  @param methods within `in` */
ssize_t tg_socks5_greeting_decode(const uint8_t *in, size_t len, struct tg_span *methods,
                                  struct tg_error *err);
ssize_t tg_socks5_greeting_encode(struct tg_span methods, uint8_t *out, size_t size);

/** S: `05 METHOD` */
ssize_t tg_socks5_choice_decode(const uint8_t *in, size_t len, uint8_t *method,
                                struct tg_error *err);

struct tg_socks5_auth {
    struct tg_span user, pass; /**< up to 255 bytes each, may be empty, any bytes */
};

/** C: `01 ULEN USER PLEN PASS` (RFC 1929) */
ssize_t tg_socks5_auth_decode(const uint8_t *in, size_t len, struct tg_socks5_auth *out,
                              struct tg_error *err);
ssize_t tg_socks5_auth_encode(const struct tg_socks5_auth *a, uint8_t *out, size_t size);

/** S: `01 STATUS`, 0 is success.  The version is not looked at: servers are known
 * that answer with 5. */
ssize_t tg_socks5_auth_reply_decode(const uint8_t *in, size_t len, uint8_t *status,
                                    struct tg_error *err);

/** A request (code: command) or a reply (code: 0 is success). */
struct tg_socks5_message {
    uint8_t code;
    struct tg_target target;
};

ssize_t tg_socks5_request_decode(const uint8_t *in, size_t len, struct tg_socks5_message *out,
                                 struct tg_error *err);

/** A refusal whose address type makes no sense is taken to end after it, with an empty host. */
ssize_t tg_socks5_reply_decode(const uint8_t *in, size_t len, struct tg_socks5_message *out,
                               struct tg_error *err);

/** Either of them; an empty host is 0.0.0.0. */
ssize_t tg_socks5_message_encode(const struct tg_socks5_message *m, uint8_t *out, size_t size);

enum tg_socks4_code {
    TG_SOCKS4_GRANTED = 90,
    TG_SOCKS4_FAILED = 91,
    TG_SOCKS4_REJECTED = 92,
    TG_SOCKS4_USER_REJECTED = 93,
};

struct tg_socks4_request {
    uint8_t command; /**< 1 connect, 2 bind */
    struct tg_span user; /**< up to 255 bytes */
    struct tg_target target;
};

/** `04 CD PORT IP USER 00 [HOST 00]`; the host is there for the addresses 0.0.0.1 to 0.0.0.255 */
ssize_t tg_socks4_request_decode(const uint8_t *in, size_t len, struct tg_socks4_request *out,
                                 struct tg_error *err);

/** SOCKS4a: IPv4 and the empty host (0.0.0.0) go as address unless `by_name`,
 * names always as text, IPv6 as text. */
ssize_t tg_socks4_request_encode(const struct tg_socks4_request *r, bool by_name, uint8_t *out,
                                 size_t size);

/** `00 CODE PORT IP`; port and address are ignored, and so is the first byte (some answer 4) */
ssize_t tg_socks4_reply_decode(const uint8_t *in, size_t len, uint8_t *code, struct tg_error *err);
