#pragma once

/** @file
 * Client of gost's SSH tunnels, by libssh2: channels of the type `gost-tunnel` are streams.
 *
 * The other library (session/ssh.h) does not open channels of foreign types.  This one reads from
 * and writes to the stream beneath by callbacks, so that may be any.  It opens one channel after
 * the other.
 */

#include "session/session.h"

struct tg_ssh2_options {
    const char *user;
    uint32_t max_streams;
    uint32_t keepalive; /**< ms of silence after which the peer is asked for an answer; 0: never */
    uint32_t timeout;   /**< ms for the answer */
    uint32_t retries;   /**< questions in a row without one that end the session */
    const char *host_keys; /**< kinds of keys the server may show, by commas, best first; NULL: any */
};

enum tg_ssh2_step {
    TG_SSH2_SHAKE,
    TG_SSH2_NONE,
    TG_SSH2_PASSWORD,
    TG_SSH2_INTERACTIVE, /**< the password answers all questions */
    TG_SSH2_KEY,
    TG_SSH2_AGENT, /**< see tg_ssh2_begin_agent() */
};

/** Start on `lower`, which the session owns from now on; keys are exchanged at once
 * (TG_SSH2_SHAKE is the first step).  @return NULL: see `err`, and `lower` is closed */
struct tg_session *tg_ssh2_start(struct tg_stream *lower, const struct tg_ssh2_options *options,
                                 struct tg_error *err);

/** Begin a login.  @param secret password, or the text of a private key; copied
 * @param passphrase of the key, or NULL */
void tg_ssh2_begin(struct tg_session *s, enum tg_ssh2_step step, const char *secret,
                   const char *passphrase);
/** Begin a login with an agent's key.  Without a signature it fails, if not before, when one is
 * needed; see tg_ssh2_to_sign(). */
void tg_ssh2_begin_agent(struct tg_session *s, const void *key, size_t key_len,
                         const void *signature, size_t signature_len);
/** @return what the key was to sign in the last such step, or NULL; valid until the next */
const void *tg_ssh2_to_sign(const struct tg_session *s, size_t *len);
/** @return TG_AGAIN while the step lasts, 0 when it succeeded, or TG_AUTH */
int tg_ssh2_result(const struct tg_session *s);
/** @return what the library said last, or "" */
const char *tg_ssh2_reason(const struct tg_session *s);
/** @return names of the logins the server takes, by commas, or NULL: not known */
const char *tg_ssh2_methods(const struct tg_session *s);
/** @return the server's key as it is on the wire, or NULL */
const char *tg_ssh2_host_key(const struct tg_session *s, size_t *len);
/** @return SHA-256 of the server's key, 32 bytes, or NULL */
const char *tg_ssh2_host_hash(const struct tg_session *s);
/** @return ms since anything came from the peer */
uint64_t tg_ssh2_silence(const struct tg_session *s);
