#pragma once

/** @file
 * Sessions: many streams over one connection.
 *
 * A session owns the stream beneath it.  The streams it hands out belong to who
 * got them and may outlive it: after its end they deliver what has arrived and
 * then fail.  Everything belongs to one thread; `on_event` comes from the
 * reactor only, and the session may be closed in it.
 */

#include "stream/stream.h"

struct tg_session;

/** Something to accept, or the session ended: accept() and look at `dead`. */
typedef void (*tg_session_cb)(void *arg);

struct tg_session_ops {
    const char *name; /**< "smux" */
    struct tg_stream *(*open)(struct tg_session *s, struct tg_error *err);
    struct tg_stream *(*accept)(struct tg_session *s);
    void (*close)(struct tg_session *s);
};

/** What waits in the sockets of the connection cannot be overtaken by other streams: it is kept short. */
struct tg_session_queue {
    int fd;         /**< whose receive buffer is limited; -1: none */
    uint64_t since; /**< ms: when counting began; 0: not yet */
    uint64_t count; /**< bytes read since */
};

/** Common part; first member of every kind's own struct. */
struct tg_session {
    const struct tg_session_ops *ops;
    struct tg_reactor *reactor;
    struct tg_stream *lower; /**< owned */
    struct tg_session_queue queue;
    tg_session_cb on_event;  /**< set by the user; may be NULL */
    void *event_arg;
    struct tg_error error; /**< why it is dead */
    unsigned streams;      /**< alive, those not accepted yet included */
    bool dead;             /**< no more streams; what is left is to close it */
};

/** @return a new stream, OPEN at once; NULL: see `err` */
struct tg_stream *tg_session_open(struct tg_session *s, struct tg_error *err);
/** @return a stream the peer opened, or NULL: none waits */
struct tg_stream *tg_session_accept(struct tg_session *s);
/** Ends a stream whose session is over without a word of the peer about the stream.
 * @param s its session; NULL: it is closed @return the error code, as read() and writev() do */
int tg_session_break(const struct tg_session *s, struct tg_stream *stream, const char *op);
/** Ends the session, closes what lies beneath and frees it. */
void tg_session_close(struct tg_session *s);

/* For the kinds of sessions. */

/** Keep the queues below short; `s->lower` is set. */
void tg_session_queue_start(struct tg_session *s);
/** Bytes were read from below. */
void tg_session_queue_count(struct tg_session *s, size_t n);
