#pragma once

/** @file
 * The opening records of simple-obfs' TLS mode, which look like a handshake and carry data in the
 * clear: the client's in the session ticket of its hello, the server's behind its own.
 */

#include "codec/codec.h"

#define TG_OBFS_RECORD_MAX 16384u
#define TG_OBFS_ID_LEN 32u
#define TG_OBFS_HELLO_FIXED 217u  /**< bytes of a client's record beside its payload and host */
#define TG_OBFS_HOST_MAX 255u
#define TG_OBFS_ANSWER_LEN 107u   /**< bytes of a server's opening beside its payload */

struct tg_obfs_hello {
    uint8_t id[TG_OBFS_ID_LEN]; /**< session id, which the server repeats; shorter ones end in zeros */
    struct tg_span payload;     /**< of the session ticket; may be empty */
    struct tg_span host;        /**< of the server name; empty: there is none */
};

/** Read a client's opening: one record.  @return its bytes */
ssize_t tg_obfs_hello_decode(const uint8_t *in, size_t len, struct tg_obfs_hello *out,
                             struct tg_error *err);

/** Write a client's opening.  Random bytes and the time are the caller's: `random` holds 28.
 * @return bytes written or TG_LIMIT */
ssize_t tg_obfs_hello_encode(const struct tg_obfs_hello *h, uint32_t time, const uint8_t *random,
                             uint8_t *out, size_t size);

/** Write a server's opening up to its payload, of `len` bytes (1 to TG_OBFS_RECORD_MAX): it takes
 * TG_OBFS_ANSWER_LEN bytes. */
void tg_obfs_answer_encode(const uint8_t id[TG_OBFS_ID_LEN], uint32_t time, const uint8_t *random,
                           size_t len, uint8_t *out);
