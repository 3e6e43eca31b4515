#pragma once

/** @file
 * Byte streams: the one shape in which handlers and the relay see TCP, TLS,
 * WebSocket, mux and QUIC streams.
 *
 * Pull, not push: read and writev move what they can and otherwise answer
 * TG_AGAIN.  want() says what one waits for, and on_ready comes when it is
 * worth trying again (it may come too early, never too late), once per turn of
 * the reactor, until the wish is withdrawn or read/writev answer TG_AGAIN.
 *
 * Streams stack.  A layer owns `lower` and closes it when it is closed itself;
 * only the top of a stack has a user.
 *
 * What every kind keeps and every caller may rely on:
 *  - no function calls on_ready; it comes from the reactor only;
 *  - on_ready is the last thing an implementation does, so the user may close
 *    the stream in it;
 *  - close() frees the stack at once, in any state, and on_ready stays silent;
 *  - after a failure `error` says what and where, and every later call answers
 *    the same code.
 *
 * Bytes that were read ahead (to look at a head, to sniff) wait in `ahead` and
 * are what read() delivers first; a layer put on top reads them as well.
 */

#include "base/error.h"
#include "base/hold.h"
#include "base/reactor.h"
#include "stream/meter.h"

#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

struct tg_stream;

#define TG_STREAM_STATE_MAP(XX) \
    XX(OPENING) /* connecting or handshaking: read and writev answer TG_AGAIN */ \
    XX(OPEN) \
    XX(FAILED)  /* see `error` */

enum tg_stream_state {
#define XX(name) TG_STREAM_##name,
    TG_STREAM_STATE_MAP(XX)
#undef XX
};

/** What a kind of stream implements. */
struct tg_stream_ops {
    const char *name; /**< layer name in errors and logs: "tcp", "tls" */
    /** @return bytes, 0 at the end of input, or a negative code */
    ssize_t (*read)(struct tg_stream *s, void *buf, size_t len);
    /** @return bytes taken, possibly fewer than offered, or a negative code */
    ssize_t (*writev)(struct tg_stream *s, const struct iovec *iov, int count);
    /** No more writes; reading goes on.  @return 0, TG_AGAIN (call again when
     * writable) or a negative code */
    int (*shutdown)(struct tg_stream *s);
    void (*want)(struct tg_stream *s, unsigned events);
    void (*close)(struct tg_stream *s);
    /** The descriptor whose bytes are the stream's bytes, or -1.  NULL: never. */
    int (*fd)(const struct tg_stream *s);
    /** `fd` answered EAGAIN to the relay itself.  NULL where fd is NULL. */
    void (*blocked)(struct tg_stream *s, unsigned events);
    /** @return true when splice() may have stopped short of something that only read() gets
     * past.  NULL where fd is NULL. */
    bool (*obstructed)(const struct tg_stream *s);
    /** @return true when read() would answer TG_AGAIN at once: not worth reserving tokens for.
     * NULL: who knows */
    bool (*empty)(const struct tg_stream *s);
    /** @return true when close() says all that shutdown() would: nothing is kept back that must go out
     * first.  NULL: never, unless there is a descriptor (the kernel sends what it has taken, and the end) */
    bool (*said)(const struct tg_stream *s);
    /** Once the layer changes nothing any more: free it and nothing else.  @return whether it did.  NULL: never */
    bool (*leave)(struct tg_stream *s);
    /** Addresses of the bottom; NULL: ask `lower`.  @return 0 or a negative code */
    int (*name_of)(const struct tg_stream *s, bool peer, struct sockaddr_storage *out,
                   socklen_t *len);
};

struct tg_metering;

/** What few streams have. */
struct tg_stream_extras {
    struct tg_metering *metering; /**< of stream.c; NULL: nothing counts or limits its bytes */
    struct tg_hold *holds; /**< counters of open streams (base/hold.h) that it is one of; NULL: none */
};

/** Common part; first member of every kind's own struct.  There are several for a tunnel: bytes count. */
struct tg_stream {
    const struct tg_stream_ops *ops;
    struct tg_stream *lower; /**< owned; NULL at the bottom */
    struct tg_reactor *reactor;
    tg_ready_cb on_ready; /**< set by the user */
    void *ready_arg;
    struct tg_buf *ahead; /**< read but not delivered; NULL: nothing */
    struct tg_stream_extras *extras; /**< owned; NULL: none */
    struct tg_error error;
    uint64_t rx, tx; /**< bytes as the user of this stream sees them */
    uint32_t grain;  /**< writes of so many bytes are the cheapest; 0: of any number */
    uint8_t state;   /**< enum tg_stream_state; written by tg_stream_set_state() only */
    uint8_t wanted;  /**< TG_READABLE | TG_WRITABLE: what the user waits for */
    bool eof : 1;    /**< read() has answered 0 */
    bool shut : 1;   /**< shutdown() has succeeded */
    bool rationed : 1; /**< the last read got all that meters allowed, or nothing for them: there may be more */
    bool half_close : 1; /**< shutdown() leaves the other direction alive (tcp, unix, tls); set by the kind */
};

void tg_stream_set_state(struct tg_stream *s, enum tg_stream_state to);

/** Deliver bytes, those read ahead first.
 * @return bytes, 0 at the end of input, or a negative code */
ssize_t tg_stream_read(struct tg_stream *s, void *buf, size_t len);
ssize_t tg_stream_writev(struct tg_stream *s, const struct iovec *iov, int count);
ssize_t tg_stream_write(struct tg_stream *s, const void *buf, size_t len);
/** @return the bytes of all parts */
size_t tg_iov_total(const struct iovec *iov, int count);
/** The first `n` bytes of parts; `to` has room for as many parts.  @return the number of parts in `to` */
int tg_iov_head(struct iovec *to, const struct iovec *iov, int count, size_t n);
/** Copy parts without their first `n` bytes; `to` may be `iov`.  @return the number of parts left */
int tg_iov_skip(struct iovec *to, const struct iovec *iov, int count, size_t n);
int tg_stream_shutdown(struct tg_stream *s);
/** @return whether closing `s` now ends what it sends just as shutting it down first would */
bool tg_stream_is_said(const struct tg_stream *s);
void tg_stream_want(struct tg_stream *s, unsigned events);
void tg_stream_close(struct tg_stream *s);
/** Take off layers that change nothing any more, as those that open a conversation do when that is over: a tunnel
 * has memory for as long as it lives.  For who owns the stream and knows it by nothing but this pointer.
 * @return the stream that is left, which goes on where `s` was */
struct tg_stream *tg_stream_peel(struct tg_stream *s);
/** @return the descriptor for splice(), or -1; never one with bytes read ahead */
int tg_stream_fd(const struct tg_stream *s);
int tg_stream_name(const struct tg_stream *s, bool peer, struct sockaddr_storage *out,
                   socklen_t *len);

/** @return true when tg_stream_read() would answer TG_AGAIN, as far as one can tell without asking */
bool tg_stream_is_empty(const struct tg_stream *s);

/** Read more into `ahead`, which holds at most `limit` bytes.
 * @return bytes added, 0 at the end of input, TG_LIMIT when full, or a negative code */
ssize_t tg_stream_fill(struct tg_stream *s, size_t limit);
/** Drop the first `n` bytes of `ahead`. */
void tg_stream_consume(struct tg_stream *s, size_t n);
/** Put bytes in front of what will be read next; copied.  @return 0 or TG_LIMIT */
int tg_stream_unread(struct tg_stream *s, const void *data, size_t len);

/** For implementations: record a failure by errno.  @return the code */
int tg_stream_fail(struct tg_stream *s, const char *op, int sys);
/** For implementations: record a failure by code.  @return the code */
int tg_stream_break(struct tg_stream *s, const char *op, enum tg_code code, const char *detail);
/** For layers: take over the failure of `lower`.  @return the code */
int tg_stream_inherit(struct tg_stream *s);
/** @return whether anything counts or limits its bytes */
static inline bool tg_stream_is_metered(const struct tg_stream *s)
{
    return s->extras != NULL && s->extras->metering != NULL;
}

/** @return the list of counters it is one of, which is made if need be */
struct tg_hold **tg_stream_holds(struct tg_stream *s);
/** Take the counters away.  @return their list, the caller's now */
struct tg_hold *tg_stream_take_holds(struct tg_stream *s);

/** For implementations: tell the user.  The stream may be gone afterwards. */
void tg_stream_ready(struct tg_stream *s, unsigned events);

/** Have a meter count and limit what is read from this stream (TG_IN) and written to it (TG_OUT);
 * it is held until the stream closes.  While tokens are missing, read and writev answer TG_AGAIN,
 * and readiness is withheld until it is worth trying again.  When a quota is used up they fail. */
void tg_stream_add_meter(struct tg_stream *s, struct tg_meter *m);

/** How many of `want` bytes may be moved now by who reads (TG_READABLE) or writes (TG_WRITABLE)
 * past the stream, by its descriptor; or by who is about to read elsewhere what it will write here.
 * @return > 0, and they are set aside; TG_AGAIN: wait for `event`; or a negative code, which is the
 * stream's failure */
ssize_t tg_stream_reserve(struct tg_stream *s, unsigned event, size_t want);
/** So many bytes were moved past the stream; what else was set aside is free again. */
void tg_stream_spend(struct tg_stream *s, unsigned event, size_t n);
/** Of what was set aside only so much will be needed. */
void tg_stream_release(struct tg_stream *s, unsigned event, size_t keep);
