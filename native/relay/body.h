#pragma once

/** @file
 * Moves one HTTP/1.1 message body from a stream to another, framing included
 * (RFC 9112 6 and 7).  Exactly the body is taken: what follows it stays in
 * `from` for the next message.
 *
 * A step moves what can be moved now.  Nothing here waits or installs a
 * callback; the caller asks for readiness as `wants_read` and `wants_write` say
 * and steps again.  A pooled buffer is held only while `to` does not take what
 * was read already.  A long body of known length, or without one, is spliced when
 * both streams have a descriptor.
 */

#include "base/buf.h"
#include "codec/chunks.h"
#include "relay/gunzip.h"
#include "relay/pipes.h"
#include "stream/stream.h"

enum tg_body_framing {
    TG_BODY_LENGTH,  /**< so many bytes */
    TG_BODY_CHUNKED, /**< up to and including the last chunk and its trailers */
    TG_BODY_CLOSE,   /**< up to the end of input */
};

/** What is done to the bytes on the way. */
enum tg_body_shape {
    TG_BODY_VERBATIM,
    TG_BODY_PLAIN,         /**< chunk sizes and trailers are taken off */
    TG_BODY_UNPACK,        /**< that, and gzip is unpacked */
    TG_BODY_UNPACK_CHUNKS, /**< that, and new chunks are made */
};

struct tg_body {
    struct tg_stream *from; /**< not owned */
    struct tg_stream *to;   /**< not owned; NULL: drop what is read */
    struct tg_pool *pool;
    struct tg_buf *pending; /**< read, or given as a prefix, but not written */
    struct tg_pipes *pipes; /**< not owned; NULL: never splice.  Set after tg_body_open() */
    struct tg_pipe *pipe;   /**< in use while a long body goes past the buffers */
    struct tg_chunks chunks;
    struct tg_gunzip *gunzip; /**< while unpacking; NULL: not */
    uint64_t left;            /**< TG_BODY_LENGTH: bytes still to be read */
    uint64_t moved;           /**< bytes of the body that `to` took (or that were dropped) */
    uint64_t prefix;          /**< bytes put in front that `to` has not taken yet */
    /** Bytes that are passed on are copied here as well, from the first on; see tg_body_capture() */
    struct {
        uint8_t *data; /**< malloc()ed, or NULL */
        size_t len, size, max;
        bool cut; /**< there were more than `max` */
    } capture;
    uint8_t framing;
    uint8_t shape;
    uint8_t busy;     /**< reads in a row that were as long as they could be */
    bool received;    /**< all of it was read */
    bool ended;       /**< and passed on, but for `pending` */
    bool fresh;       /**< `pending` is a prefix that wants company before it is written */
    bool wants_read;  /**< step again when `from` is readable */
    bool wants_write; /**< step again when `to` is writable */
    bool held_back;   /**< the meters of `to` have no tokens */
    bool from_failed; /**< after an error: it arose in `from` (or its bytes), not in `to` */
};

/** Begin.  `length` counts for TG_BODY_LENGTH only. */
void tg_body_open(struct tg_body *b, struct tg_stream *from, struct tg_stream *to,
                  enum tg_body_framing framing, uint64_t length);

/** Change the bytes on the way.  Before the first step.  @return 0 or TG_BUSY */
int tg_body_set_shape(struct tg_body *b, enum tg_body_shape shape);

/** Write these bytes (copied) in front of the body, in one go with the first of
 * it if that is there already.  Before the first step.
 * @return 0 or TG_LIMIT */
int tg_body_prefix(struct tg_body *b, const void *data, size_t len);

/** Keep a copy of the first `max` bytes as they go to `to` (chunk sizes included, if those go there).
 * tg_body_close() frees it.  Before the first step. */
void tg_body_capture(struct tg_body *b, size_t max);

/** Move what can be moved, bounded.
 * @return 0: all of it was written; TG_AGAIN: see the wants; else a negative code with `err`
 * (TG_EOF: `from` ended inside the body; TG_PROTOCOL: broken chunks) */
int tg_body_step(struct tg_body *b, struct tg_error *err);

/** Give back what is held, in any state.  The streams stay as they are. */
void tg_body_close(struct tg_body *b);
