#pragma once

/** @file
 * Errors.  Functions return 0 (or a count) or a negative tg_code; a struct
 * tg_error beside it says where it arose.  The word of a code is what Lua, the
 * API and the logs show: it never changes its meaning.
 */

#include <stddef.h>

#define TG_CODE_MAP(XX) \
    XX(AGAIN, "again")             /* not an error: wait for readiness, then repeat */ \
    XX(EOF, "eof")                 /* the peer will send no more */ \
    XX(CLOSED, "closed")           /* used after close() */ \
    XX(REFUSED, "refused")         /* nobody listens there */ \
    XX(RESET, "reset")             /* the peer tore the connection down */ \
    XX(UNREACHABLE, "unreachable") /* no route to the host or network */ \
    XX(TIMEOUT, "timeout")         /* a deadline passed */ \
    XX(PROTOCOL, "protocol")       /* the peer broke the rules of a protocol */ \
    XX(LIMIT, "limit")             /* a length, count or rate exceeded its limit */ \
    XX(AUTH, "auth")               /* credentials missing or wrong */ \
    XX(BLOCKED, "blocked")         /* a policy forbids it */ \
    XX(RESOLVE, "resolve")         /* a name has no address */ \
    XX(TLS, "tls")                 /* handshake or record failure, see `detail` */ \
    XX(BUSY, "busy")               /* out of descriptors or other resources; may succeed later */ \
    XX(INUSE, "inuse")             /* address already in use */ \
    XX(DENIED, "denied")           /* the operating system forbids it */ \
    XX(INVALID, "invalid")         /* an argument a user wrote makes no sense */ \
    XX(IO, "io")                   /* any other errno, see `sys` */

enum tg_code_index {
    TG_IX_OK = 0,
#define XX(name, word) TG_IX_##name,
    TG_CODE_MAP(XX)
#undef XX
};

enum tg_code {
    TG_OK = 0,
#define XX(name, word) TG_##name = -TG_IX_##name,
    TG_CODE_MAP(XX)
#undef XX
};

/** Where and why something failed. */
struct tg_error {
    enum tg_code code;  /**< TG_OK: none */
    int sys;            /**< errno, or 0 */
    const char *layer;  /**< "tcp", "tls", "socks5"; static */
    const char *op;     /**< "connect", "read"; static */
    const char *detail; /**< more words, static; NULL: none */
};

/** Record an errno.  @return its code; nothing is recorded for TG_AGAIN */
int tg_error_set(struct tg_error *e, const char *layer, const char *op, int sys);

/** Record a code with a static explanation.  @return the code */
int tg_error_put(struct tg_error *e, const char *layer, const char *op, enum tg_code code,
                 const char *detail);

/** @return the stable word of a code, "ok" for TG_OK */
const char *tg_code_word(enum tg_code code);

/** Write one readable line, "tcp connect: Connection refused", into `out`.
 * @return the length written, terminating NUL not counted; cut to fit */
size_t tg_error_text(const struct tg_error *e, char *out, size_t size);
