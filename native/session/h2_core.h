#pragma once

/** @file
 * What the parts of the HTTP/2 session share; of nobody else's concern.
 */

#include "session/h2.h"

#include <nghttp2/nghttp2.h>

#define TG_H2_PARTS 64     /**< of one write below */
#define TG_H2_FRAMES 16    /**< DATA frames of one write below */
#define TG_H2_FIELDS 272   /**< of a header */
#define TG_H2_FRAME_BURST 4000u /**< frames that move nothing */
#define TG_H2_RESET_BURST 1000u /**< requests taken back before they were answered */
#define TG_H2_INTERIMS 8u  /**< that a stream keeps; more are dropped */
#define TG_H2_LEFT 32u     /**< streams at once whose end is waited for though nobody has them */
#define TG_H2_TURN 131072u /**< bytes a stream writes before others have their turn */

struct tg_h2;

/** What a stream needs to begin and to end, but not in between. */
struct tg_h2_words {
    struct tg_h2_block *headers, *trailers; /**< of the peer */
    struct tg_h2_block *last_words;         /**< trailers of ours, to be sent behind the body */
    struct tg_h2_block *interims;           /**< not taken yet, the first one first */
    unsigned interim_count;
    tg_h2_headers_cb on_headers, on_over;
    void *headers_arg, *over_arg;
};

/** There are many that rest: each byte counts. */
struct tg_h2_stream {
    struct tg_stream base;
    struct tg_h2 *session; /**< NULL: it is gone */
    struct tg_h2_stream *next, **link;           /**< list of the session's streams */
    struct tg_h2_stream *turn_next, **turn_link; /**< list of those who want to write */
    struct tg_bufs in;
    struct tg_h2_words *words; /**< NULL: there are none */
    struct tg_defer defer;
    int32_t id;
    uint32_t held;     /**< bytes in `in` */
    uint32_t window;   /**< what the peer was granted */
    uint32_t looked;   /**< ms, modulo 2^32: when it was looked at; at first: when the request was made */
    union {
        uint32_t passed; /**< bytes read since then */
        uint32_t code;   /**< why it was closed */
    };
    uint8_t wanted;
    uint8_t refusal;       /**< which answer it was that is a failure, of tg_h2_refusal() */
    bool awaits_heads : 1; /**< interim headers are kept, and headers are something to read */
    bool turn : 1;         /**< may write though others wait */
    bool waiting : 1;      /**< for accept() */
    bool complete : 1;     /**< the peer's header is here */
    bool answered : 1;     /**< we have sent ours */
    bool expects : 1;      /**< any answer but 200 is a failure */
    bool refused : 1;      /**< such an answer has come */
    bool pulling : 1;      /**< the library asks for its data until it was told that there are no more */
    bool fin_received : 1, fin_queued : 1, fin_sent : 1;
    bool unsent : 1;       /**< its request could not be sent any more */
    bool closed : 1;       /**< in the eyes of the protocol */
    bool orphan : 1;       /**< closed by its user while its end is still to be sent or to come */
    bool left : 1;         /**< the latter */
};

/** What writev() offers right now. */
struct tg_h2_offer {
    struct tg_h2_stream *stream; /**< whose; NULL: nothing */
    const struct iovec *iov;
    size_t skip; /**< bytes of the first part that are through */
    size_t left; /**< bytes that may go out in this call */
};

struct tg_h2 {
    struct tg_session base;
    struct tg_h2_options options;
    nghttp2_session *ng;
    struct tg_h2_stream *all;
    struct tg_h2_stream *accept_first; /**< chained by turn_next */
    struct tg_h2_stream **accept_last;
    struct tg_h2_stream *turns, **turns_last;
    unsigned turn_count;
    unsigned open;      /**< streams that count for the peer's limit */
    uint32_t held;      /**< bytes that streams hold unread */
    uint32_t owed;      /**< of them, those for which the peer has no credit back yet */
    uint32_t rtt;       /**< ms of a round trip, the shortest seen */
    unsigned refusals;  /**< streams that expected another answer */
    unsigned left;      /**< streams that wait for their end alone */
    struct tg_buf *out; /**< frames not sent yet */
    struct tg_defer work, event;
    struct tg_timer timer;
    uint64_t heard;     /**< ms of the last bytes from the peer */
    uint64_t pinged;    /**< ms of the PING that waits for its answer; 0: none */
    uint64_t probed;    /**< ms when the peer was asked for a sign of life; 0: it has given one */
    uint64_t asked;     /**< ms of the SETTINGS whose ACK tells the round trip; 0: none */
    uint64_t deserted;  /**< ms when the last stream went */
    uint64_t tokens_at; /**< ms when the two below were filled up */
    uint32_t frame_tokens, reset_tokens;
    struct tg_h2_offer offer;
    struct iovec *parts; /**< of the write at hand; NULL: none is */
    uint8_t *heads;
    unsigned part_count, frame_count;
    size_t part_bytes;
    bool blocked;  /**< below takes no more now */
    bool hungry;   /**< has stopped reading */
    bool starved;  /**< the window of the whole session was used up */
    bool draining; /**< no new streams */
    bool greeted;  /**< the peer's SETTINGS have come */
    bool measured; /**< `rtt` was */
    bool pumping, closing;
    bool gathering; /**< what is pumped may wait for the end of the turn */
    struct tg_error violation; /**< of the peer; the session is about to end */
    struct tg_error farewell;  /**< what its GOAWAY said */
};

/** Put a field into a block, which is made or moved.  @return false: longer than `limit` */
bool tg_h2_block_add(struct tg_h2_block **b, size_t limit, const struct tg_h2_field *field);

/** For the session: a stream of number `id`. */
struct tg_h2_stream *tg_h2_stream_new(struct tg_h2 *h, int32_t id);
/** Take it out of its session; user's calls fail from now on. */
void tg_h2_stream_part(struct tg_h2_stream *st);
/** @return its words, which are made if need be */
struct tg_h2_words *tg_h2_stream_words(struct tg_h2_stream *st);
/** Let go of words that say nothing. */
void tg_h2_stream_trim(struct tg_h2_stream *st);
/** Have the library ask for what the stream has to send.  @return false: its header is not out yet */
bool tg_h2_stream_pull(struct tg_h2_stream *st);
/** What an answer says that is not 200.  @param status NULL: none @return a number for tg_h2_refusal() */
uint8_t tg_h2_judge(const struct tg_h2_field *status);
const char *tg_h2_refusal(uint8_t number);
/** Free one that has no user. */
void tg_h2_stream_free(struct tg_h2_stream *st);
/** Tell the user what has changed, later in this turn. */
void tg_h2_stream_check(struct tg_h2_stream *st);
/** The same for who waits for the header or the end: it has come, or will not. */
void tg_h2_stream_header_over(struct tg_h2_stream *st);
/** Keep an interim header, or free it. */
void tg_h2_stream_add_interim(struct tg_h2_stream *st, struct tg_h2_block *b);
/** @return bytes that may be sent */
size_t tg_h2_stream_window(const struct tg_h2_stream *st);
void tg_h2_join_turns(struct tg_h2_stream *st);
void tg_h2_leave_turns(struct tg_h2_stream *st);
void tg_h2_stream_take(struct tg_h2_stream *st, const uint8_t *data, size_t len);

/** Bytes have come (n > 0) that streams hold, or streams have let go of some (n < 0). */
void tg_h2_hold(struct tg_h2 *h, int32_t n);
/** For streams: have frames sent later in this turn. */
void tg_h2_stir(struct tg_h2 *h);
/** Send all that can be sent now. */
void tg_h2_pump(struct tg_h2 *h);
void tg_h2_update_wants(struct tg_h2 *h);
/** Read what has come. */
void tg_h2_receive(struct tg_h2 *h);
nghttp2_session_callbacks *tg_h2_callbacks(void);
/** Where DATA frames come from. */
ssize_t tg_h2_pull(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t len, uint32_t *flags,
                   nghttp2_data_source *source, void *arg);
void tg_h2_die(struct tg_h2 *h, enum tg_code code, const char *detail);
void tg_h2_die_of(struct tg_h2 *h, const struct tg_error *why);
/** The peer broke the rules: the session ends soon.  The first blame counts. */
void tg_h2_blame(struct tg_h2 *h, enum tg_code code, const char *detail);
