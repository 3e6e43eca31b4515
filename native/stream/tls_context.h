#pragma once

/** @file
 * What a TLS listener or node is configured with: certificates, trust, versions,
 * names.  One context serves all threads: equal options give the same context.
 *
 * A context follows its files: tg_tls_context_refresh() loads what has changed;
 * handshakes begun before keep what they began with.
 */

#include "stream/tls_tickets.h"

#include <openssl/ssl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum tg_tls_verify {
    TG_TLS_VERIFY_NONE,
    TG_TLS_VERIFY_CHAIN, /**< the chain, not the name */
    TG_TLS_VERIFY_FULL,  /**< the chain and the name; as a server the same as CHAIN */
};

/** A certificate with its chain and its key, each PEM text or a path. */
struct tg_tls_pair {
    const char *cert, *key;
};

/** Lists end with NULL; NULL instead of a list is the empty one. */
struct tg_tls_options {
    bool server;
    bool reject_unknown_sni; /**< server: no name, or one not in server_names, is refused */
    bool sessions;           /**< resume sessions */
    bool ktls;               /**< let the kernel encrypt where it can */
    enum tg_tls_verify verify;
    int min, max;            /**< TLS1_2_VERSION …; 0: TLS 1.2 and TLS 1.3 */
    const struct tg_tls_pair *pairs; /**< server: the first one is the default */
    size_t pair_count;
    const char *ca;          /**< PEM text or a path; NULL: the system's */
    const char *const *alpn; /**< in order of preference */
    const char *const *ciphers; /**< IANA or Go names; those of TLS 1.3 have no effect */
    const char *const *server_names;
};

struct tg_tls_context;

/** What a context is until its files change. */
struct tg_tls_set {
    atomic_uint refs;
    struct tg_tls_context *context; /**< not owned */
    SSL_CTX **ssl;                  /**< one per pair, or one without a certificate */
    SSL_CTX **keyed;                /**< the same, with secrets for tg_tls_peer */
    size_t ssl_count;
    struct tg_tls_name *names;      /**< sorted; which of `ssl` is for which name */
    size_t name_count;
    unsigned char *alpn;            /**< as on the wire */
    unsigned alpn_len;
    struct tg_tls_sessions sessions; /**< of a client */
};

/** Find or make a context.  @return one reference, or NULL with words in `err` that name
 * the file or option at fault */
struct tg_tls_context *tg_tls_context_get(const struct tg_tls_options *options, char *err,
                                          size_t size);
struct tg_tls_context *tg_tls_context_ref(struct tg_tls_context *c);
void tg_tls_context_put(struct tg_tls_context *c);

/** Look whether a file has changed, and load it.
 * @return 1: what is new is in force; 0: nothing to do; -1: the new files are no good (said
 *         once per change) and the old ones stay, see `err` */
int tg_tls_context_refresh(struct tg_tls_context *c, char *err, size_t size);

const struct tg_tls_options *tg_tls_context_options(const struct tg_tls_context *c);

/** @return a reference to what is in force now */
struct tg_tls_set *tg_tls_set_take(struct tg_tls_context *c);
void tg_tls_set_put(struct tg_tls_set *set);

/** Traffic secrets of TLS 1.3 (RFC 8446, 7.1). */
struct tg_tls_secrets {
    uint8_t client[48], server[48];
    uint8_t client_len, server_len; /**< 0: not known */
};

/** What the callbacks of a context know of a connection: the user puts one there with
 * SSL_set_app_data() before the handshake. */
struct tg_tls_peer {
    const char *session_name; /**< client: under which the session is kept; NULL: it is not */
    const char *refused;      /**< set when a callback ended the handshake: why; static */
    struct tg_tls_secrets secrets; /**< the first ones of the data, if they were asked for: tg_tls_set_open() */
};

/** @return what begins a connection.  Its secrets are asked for, which costs some 20 µs, while the connections of the
 * context carry enough for it to pay off */
SSL *tg_tls_set_open(struct tg_tls_set *set);

/** Tell how many bytes a connection has carried. */
void tg_tls_context_learn(struct tg_tls_context *c, uint64_t bytes);

/** @return a copy without the brackets of IPv6 and the final dot; NULL for nothing */
char *tg_tls_clean_name(const char *name);

/** Have a client say and expect what it is configured to.  tg_tls_peer is there already.
 * @param name clean; it lives as long as `ssl`; NULL: none
 * @return false: it cannot be checked what must be */
bool tg_tls_set_aim(struct tg_tls_set *set, SSL *ssl, const char *name);

/** The BIO method that the streams use; lives as long as the context. */
BIO_METHOD *tg_tls_context_bio(const struct tg_tls_context *c);

/** @return true when handshakes over bare descriptors may ask the kernel to encrypt */
bool tg_tls_context_ktls(const struct tg_tls_context *c);
