#pragma once

/** @file
 * HTTP/2 (RFC 9113), with extended CONNECT (RFC 8441): the framing is nghttp2's, the bytes are ours.
 *
 * Each stream carries one request and its response.  Headers are told apart from the body: the
 * body is what read() and writev() move, END_STREAM is the end of input and of output.  A client's
 * stream may be written to at once; a server's after tg_h2_respond().
 *
 * Backpressure: what nobody reads is not credited to the peer.  A stream begins with the window
 * `window`, which doubles up to `max_window` while its reader keeps up and the round trip makes more
 * useful.  All streams of a session together hold at most `session_window` bytes unread; as long as
 * they hold less than half of that, those that nobody reads do not slow the others down.
 *
 * A client that opens a stream after some silence asks the peer for a sign of life along with it (with
 * empty SETTINGS: servers count PINGs) and gives the session up when none comes.
 *
 * Bytes a stream writes go to the layer below without a copy, unless that one takes only a part.
 * Streams that have much to write take turns.
 */

#include "session/session.h"

struct tg_h2_options {
    bool client;
    bool connect_protocol;   /**< server: extended CONNECT is allowed */
    bool ping_idle;          /**< keepalive also while there are no streams */
    uint32_t max_streams;    /**< that the peer may have open */
    uint32_t window;         /**< bytes a stream may hold unread, at first */
    uint32_t max_window;     /**< and at most */
    uint32_t session_window; /**< bytes all streams together may hold unread */
    uint32_t max_frame;      /**< longest frame we accept */
    uint32_t max_headers;    /**< bytes of one block of header fields, 32 a field included */
    uint32_t keepalive;      /**< ms of silence before a PING; 0: none */
    uint32_t timeout;        /**< ms for its answer */
    uint32_t idle;           /**< ms without a stream after which the session ends; 0: never */
};

#define TG_H2_DEFAULTS \
    { \
        .max_streams = 1000, .window = 262144, .max_window = 16777216, .session_window = 33554432, \
        .max_frame = 65536, .max_headers = 65536, .timeout = 30000, \
    }

/** A header field; not terminated, and names are in lower case. */
struct tg_h2_field {
    const char *name, *value;
    size_t name_len, value_len;
};

/** The fields of one HEADERS frame, in order. */
struct tg_h2_block {
    struct tg_h2_block *next; /**< for who keeps several */
    uint32_t used, cap, count;
    char data[];
};

/** Walk through a block: `*at` is 0 at first.  @return false at the end */
bool tg_h2_block_next(const struct tg_h2_block *b, size_t *at, struct tg_h2_field *out);
/** @return false: there is no such field; otherwise the first */
bool tg_h2_block_find(const struct tg_h2_block *b, const char *name, struct tg_h2_field *out);

/** Start a session on `lower`, which it owns from now on.  Never fails: an error is told by the
 * session's end. */
struct tg_session *tg_h2_start(struct tg_stream *lower, const struct tg_h2_options *options);

/** Client: send a request.  @param ended it has no body
 * @return its stream; NULL: see `err` (TG_LIMIT: the peer takes no more streams now) */
struct tg_stream *tg_h2_request(struct tg_session *s, const struct tg_h2_field *fields,
                                unsigned count, bool ended, struct tg_error *err);

/** The same in two steps: a stream that has its place in the session, and its request.
 * @return the stream, which tg_h2_begin() must follow before anything else but closing it; NULL: see `err` */
struct tg_stream *tg_h2_prepare(struct tg_session *s, struct tg_error *err);
/** @return 0 or a negative code, and the stream has failed */
int tg_h2_begin(struct tg_stream *s, const struct tg_h2_field *fields, unsigned count, bool ended);

/** @return streams that tg_h2_request() could open now */
unsigned tg_h2_room(const struct tg_session *s);

/** @return whether the peer has sent its SETTINGS: it does speak HTTP/2 */
bool tg_h2_is_greeted(const struct tg_session *s);
/** @return whether the peer takes extended CONNECT, as far as its SETTINGS are known */
bool tg_h2_takes_connect_protocol(const struct tg_session *s);

/** @return ms since the peer was last heard of */
uint64_t tg_h2_silence(const struct tg_session *s);

/** Take no more streams and tell the peer so; the session ends with its last stream. */
void tg_h2_drain(struct tg_session *s);
bool tg_h2_is_draining(const struct tg_session *s);

/* Streams: `s` is a stream of such a session, see tg_h2_is_stream(). */

bool tg_h2_is_stream(const struct tg_stream *s);

/** Server: send the response's header.  @param ended there is no body
 * @return 0 or a negative code */
int tg_h2_respond(struct tg_stream *s, const struct tg_h2_field *fields, unsigned count,
                  bool ended);
/** Server, before the response: send an interim header (RFC 9110 15.2).  @return 0 or a negative code */
int tg_h2_inform(struct tg_stream *s, const struct tg_h2_field *fields, unsigned count);
/** Send trailers behind the body; ends it, as tg_stream_shutdown() does.  @return 0 or a negative code */
int tg_h2_finish(struct tg_stream *s, const struct tg_h2_field *fields, unsigned count);
/** Client, before the answer: one with another status than 200 is a failure, told by read().  The header is
 * not kept. */
void tg_h2_expect_ok(struct tg_stream *s);
/** @return how many streams of a session have failed so */
unsigned tg_h2_refusals(const struct tg_session *s);
/** Client: close a stream whose answer is whole though the peer has not said END_STREAM yet.  It is not reset for that:
 * servers count resets. */
void tg_h2_leave(struct tg_stream *s);
/** Break it off with an error code of RFC 9113 section 7; close() is what follows. */
void tg_h2_reset(struct tg_stream *s, uint32_t code);

/** The peer's header, or NULL: it has not come.  Belongs to the stream. */
const struct tg_h2_block *tg_h2_headers(const struct tg_stream *s);
/** What came behind the body, or NULL. */
const struct tg_h2_block *tg_h2_trailers(const struct tg_stream *s);
/** Client, before the answer: interim headers are kept for tg_h2_next_interim(), and a header that has come makes
 * the stream readable. */
void tg_h2_await_heads(struct tg_stream *s);
/** @return the first interim header that was not taken yet, free() it; NULL: there is none */
struct tg_h2_block *tg_h2_next_interim(struct tg_stream *s);
/** Give the memory of the header back; tg_h2_headers() answers NULL from now on. */
void tg_h2_forget_headers(struct tg_stream *s);

/** Be told once when the header has come, or will not come any more (the stream has failed, or
 * with NULL as `s` it was closed).  Must not run Lua nor close anything. */
typedef void (*tg_h2_headers_cb)(void *arg, struct tg_stream *s);
void tg_h2_on_headers(struct tg_stream *s, tg_h2_headers_cb cb, void *arg);
/** Be told once when the peer has broken the stream off or ended it, or the session has died; or with NULL as `s`
 * that it was closed.  The same rules. */
void tg_h2_on_over(struct tg_stream *s, tg_h2_headers_cb cb, void *arg);
/** Will no header come any more?  Then `err` says why. */
bool tg_h2_is_over(const struct tg_stream *s, struct tg_error *err);
