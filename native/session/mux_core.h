#pragma once

/** @file
 * Sessions of smux and yamux inside: streams, turns and windows are one piece of code (mux.c); the two
 * wire formats are tables of functions.
 */

#include "session/smux.h"

#define TG_MUX_HEAD_MAX 12u

struct tg_mux;
struct tg_mux_stream;

struct tg_mux_wire {
    const char *name;
    uint8_t head_len;
    bool half_close; /* FIN ends one direction alone */
    /* Write the head of a frame of payload. */
    void (*data_head)(const struct tg_mux *m, uint8_t *out, uint32_t id, size_t len);
    /* Send, by tg_mux_queue(). */
    void (*open)(struct tg_mux *m, struct tg_mux_stream *st);
    void (*accepted)(struct tg_mux *m, struct tg_mux_stream *st);
    void (*refuse)(struct tg_mux *m, uint32_t id);
    void (*fin)(struct tg_mux *m, uint32_t id);
    void (*update)(struct tg_mux *m, struct tg_mux_stream *st); /* when `consumed` has grown */
    void (*ping)(struct tg_mux *m);
    uint32_t (*window_left)(const struct tg_mux_stream *st);
    /* A head has come; sets frame_id, frame_left and frame_data. */
    void (*take_head)(struct tg_mux *m);
    /* What follows a head and is no payload has come: `update`. */
    void (*take_rest)(struct tg_mux *m);
};

extern const struct tg_mux_wire tg_smux_wire, tg_yamux_wire;

struct tg_mux_stream {
    struct tg_stream base;
    struct tg_mux *session; /* NULL: it is gone */
    struct tg_mux_stream *next;  /* in the table's chain */
    struct tg_mux_stream *turn_next, **turn_link; /* in the list of those who want to write */
    struct tg_mux_stream *accept_next;
    struct tg_bufs in;
    struct tg_defer defer;
    uint32_t id;
    uint32_t held;      /* bytes in `in` */
    uint32_t consumed;  /* bytes read so far, modulo 2^32; version 2 */
    uint32_t reported;  /* `consumed` as the peer knows it */
    uint32_t granted;   /* the window we give; version 2 */
    uint32_t received;  /* bytes so far, modulo 2^32; version 2 */
    uint32_t limit;     /* what the peer could send before our last update */
    uint64_t told_at;   /* ms of that update; 0: what came after `limit` has been seen */
    uint64_t used_at;   /* ms: when the window began to be used */
    uint32_t written;   /* bytes sent so far, modulo 2^32; version 2 */
    uint32_t acked;     /* of them, what the peer has consumed */
    uint32_t window;    /* what may be under way, or, in yamux, be sent in all; version 2 */
    uint32_t allowed;   /* bytes the peer may send in all; yamux */
    uint8_t wanted;
    bool turn;          /* may write one frame though others wait */
    bool fin_sent, fin_received;
    bool reset;         /* by the peer */
};

struct tg_mux {
    struct tg_session base;
    const struct tg_mux_wire *wire;
    struct tg_smux_options options;
    struct tg_mux_stream **chains;
    unsigned chain_count;
    struct tg_mux_stream *accept_first, **accept_last;
    struct tg_mux_stream *turns, **turns_last;
    unsigned turn_count, backlog;
    struct tg_buf *out; /* frames not sent yet */
    struct tg_defer work, event;
    struct tg_timer timer;
    uint64_t heard;  /* ms of the last bytes from the peer */
    uint64_t pinged; /* ms of our last ping */
    bool spoken;     /* there were some */
    uint32_t next_id;
    uint32_t held; /* bytes the streams hold unread */
    uint64_t grown; /* what windows have grown by; version 2 */
    uint32_t rtt;     /* ms from an update to what it made possible, at least; version 2 */
    uint32_t frame_id;
    uint32_t frame_left; /* payload of the frame at hand */
    uint8_t head_len, update_len;
    bool blocked; /* below takes no more now */
    bool hungry;  /* has stopped reading */
    bool going;   /* the peer takes no more streams */
    bool frame_data; /* the payload of the frame at hand is a stream's */
    uint8_t head[TG_MUX_HEAD_MAX], update[8];
};

/* Of mux.c, for the wire formats. */

struct tg_mux_stream *tg_mux_find(struct tg_mux *m, uint32_t id);
/* Queue a frame; it goes out with the next payload or at the end of the turn. */
void tg_mux_queue(struct tg_mux *m, const uint8_t *frame, size_t len);
void tg_mux_die(struct tg_mux *m, enum tg_code code, const char *detail);
void tg_mux_take_syn(struct tg_mux *m, uint32_t id);
void tg_mux_take_fin(struct tg_mux *m, uint32_t id);
void tg_mux_take_reset(struct tg_mux *m, uint32_t id);
/* The peer's window has grown. */
void tg_mux_resume(struct tg_mux *m, struct tg_mux_stream *st);
