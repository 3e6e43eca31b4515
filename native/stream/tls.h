#pragma once

/** @file
 * TLS over any stream, as server or client (RFC 5246, RFC 8446).
 *
 * The end of the peer's data is its close_notify; an end without one is taken for
 * the same and remembered (tg_tls_info.truncated).  shutdown() sends close_notify
 * and leaves the other direction alive.  writev() counts bytes as taken when the
 * layer below has taken their ciphertext; until then the caller offers the same
 * bytes again.
 *
 * OpenSSL makes the handshake and the first records.  A connection of TLS 1.3 that
 * moves much goes on with records of our own (tls_traffic.h), which are made from and
 * opened into the buffers of who writes and reads.
 */

#include "stream/stream.h"
#include "stream/tls_context.h"

/** Begin a handshake over `lower`, which is owned from now on; bytes read ahead in it
 * are the first of the handshake.  The stream is OPENING, and OPEN or FAILED later.
 * @param server_name client: the peer's name or IP address, for SNI, verification and
 *        resumption; may be NULL or empty without full verification; copied
 * @return never NULL */
struct tg_stream *tg_tls_start(struct tg_stream *lower, struct tg_tls_context *context,
                               const char *server_name);

/** What was agreed on; pointers are valid as long as the stream. */
struct tg_tls_info {
    const char *version;     /**< "TLSv1.3" */
    const char *cipher;      /**< IANA name */
    const char *server_name; /**< from SNI; NULL: none */
    const unsigned char *alpn;
    unsigned alpn_len;       /**< 0: none */
    X509 *peer;              /**< its certificate, borrowed; NULL: none */
    bool resumed;
    bool ktls_send, ktls_receive;
    bool truncated;          /**< the peer's data ended without close_notify */
    bool own_records;        /**< tls_record.h makes and takes the records, not the library */
};

/** Describe the topmost TLS layer of a stack.  @return false: there is none, or its
 * handshake is not over */
bool tg_tls_describe(const struct tg_stream *s, struct tg_tls_info *out);
