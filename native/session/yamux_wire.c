/* yamux, as hashicorp specifies it: heads of 12 bytes in network order, `0 TYPE FLAGS(2) ID(4) LENGTH(4)`,
 * where LENGTH is of the payload, or a window's growth, or a ping's number, or why the peer goes. */

#include "session/mux_core.h"

#define HEAD 12u

enum type { DATA, WINDOW, PING, GO_AWAY };
enum flag { SYN = 1, ACK = 2, FIN = 4, RST = 8 };

static uint32_t get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
}

static void put_u32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

static void put_head(uint8_t *p, enum type type, unsigned flags, uint32_t id, uint32_t length)
{
    p[0] = 0;
    p[1] = (uint8_t)type;
    p[2] = 0;
    p[3] = (uint8_t)flags;
    put_u32(p + 4, id);
    put_u32(p + 8, length);
}

static void data_head(const struct tg_mux *m, uint8_t *out, uint32_t id, size_t len)
{
    (void)m;
    put_head(out, DATA, 0, id, (uint32_t)len);
}

static void send_frame(struct tg_mux *m, enum type type, unsigned flags, uint32_t id, uint32_t length)
{
    uint8_t head[HEAD];
    put_head(head, type, flags, id, length);
    tg_mux_queue(m, head, HEAD);
}

static void send_open(struct tg_mux *m, struct tg_mux_stream *st)
{
    send_frame(m, WINDOW, SYN, st->id, st->granted - TG_SMUX_FIRST_WINDOW);
}

static void accepted(struct tg_mux *m, struct tg_mux_stream *st)
{
    send_frame(m, WINDOW, ACK, st->id, st->granted - TG_SMUX_FIRST_WINDOW);
}

static void refuse(struct tg_mux *m, uint32_t id)
{
    send_frame(m, WINDOW, RST, id, 0);
}

static void send_fin(struct tg_mux *m, uint32_t id)
{
    send_frame(m, WINDOW, FIN, id, 0);
}

static void send_update(struct tg_mux *m, struct tg_mux_stream *st)
{
    uint32_t more = st->consumed + st->granted - st->allowed;
    st->allowed += more;
    send_frame(m, WINDOW, 0, st->id, more);
}

static void send_ping(struct tg_mux *m)
{
    send_frame(m, PING, SYN, 0, (uint32_t)m->base.reactor->now);
}

static uint32_t window_left(const struct tg_mux_stream *st)
{
    int32_t left = (int32_t)(st->window - st->written);
    return left > 0 ? (uint32_t)left : 0;
}

static void take_window(struct tg_mux *m, uint32_t more)
{
    struct tg_mux_stream *st = tg_mux_find(m, m->frame_id);
    if (st == NULL)
        return;
    if (more > INT32_MAX - window_left(st)) {
        tg_mux_die(m, TG_PROTOCOL, "a window that is too large");
        return;
    }
    st->window += more;
    tg_mux_resume(m, st);
}

static void take_data(struct tg_mux *m, uint32_t len)
{
    const struct tg_mux_stream *st = tg_mux_find(m, m->frame_id);
    m->frame_left = len;
    m->frame_data = true;
    if (st == NULL) {
        if (len > 0)
            refuse(m, m->frame_id); /* closed here: the peer need not go on */
    } else if ((int32_t)(st->allowed - st->received) < 0 || len > st->allowed - st->received) {
        tg_mux_die(m, TG_PROTOCOL, "more than the window allows");
    }
}

static void take_head(struct tg_mux *m)
{
    const uint8_t *h = m->head;
    unsigned type = h[1], flags = h[3];
    uint32_t length = get_u32(h + 8);
    m->frame_id = get_u32(h + 4);
    m->frame_left = 0;
    if (h[0] != 0 || type > GO_AWAY || h[2] != 0) {
        tg_mux_die(m, TG_PROTOCOL, "no frame of yamux: mux.type must be the same at both ends");
        return;
    }
    bool of_stream = type == DATA || type == WINDOW;
    if (of_stream && (flags & SYN))
        tg_mux_take_syn(m, m->frame_id);
    if (type == DATA)
        take_data(m, length);
    else if (type == WINDOW)
        take_window(m, length);
    else if (type == PING && (flags & SYN))
        send_frame(m, PING, ACK, 0, length);
    else if (type == GO_AWAY)
        m->going = true;
    if (of_stream && (flags & RST))
        tg_mux_take_reset(m, m->frame_id);
    else if (of_stream && (flags & FIN) && m->frame_left == 0)
        tg_mux_take_fin(m, m->frame_id);
    else if (of_stream && (flags & FIN))
        tg_mux_die(m, TG_PROTOCOL, "payload in a frame that ends a stream");
}

static void take_rest(struct tg_mux *m)
{
    (void)m; /* there is none */
}

const struct tg_mux_wire tg_yamux_wire = {
    .name = "yamux",
    .head_len = HEAD,
    .half_close = true,
    .data_head = data_head,
    .open = send_open,
    .accepted = accepted,
    .refuse = refuse,
    .fin = send_fin,
    .update = send_update,
    .ping = send_ping,
    .window_left = window_left,
    .take_head = take_head,
    .take_rest = take_rest,
};
