#include "session/mux_core.h"

#define HEAD 8u

enum cmd { SYN, FIN, PSH, NOP, UPD };

static uint32_t get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put_u32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
    p[2] = (uint8_t)(v >> 16);
    p[3] = (uint8_t)(v >> 24);
}

static void put_head(const struct tg_mux *m, uint8_t *p, enum cmd cmd, uint32_t id, size_t len)
{
    p[0] = m->options.version;
    p[1] = (uint8_t)cmd;
    p[2] = (uint8_t)len;
    p[3] = (uint8_t)(len >> 8);
    put_u32(p + 4, id);
}

static void data_head(const struct tg_mux *m, uint8_t *out, uint32_t id, size_t len)
{
    put_head(m, out, PSH, id, len);
}

static void send_bare(struct tg_mux *m, enum cmd cmd, uint32_t id)
{
    uint8_t head[HEAD];
    put_head(m, head, cmd, id, 0);
    tg_mux_queue(m, head, HEAD);
}

static void send_open(struct tg_mux *m, struct tg_mux_stream *st)
{
    send_bare(m, SYN, st->id);
}

static void accepted(struct tg_mux *m, struct tg_mux_stream *st)
{
    (void)m, (void)st; /* nobody is told */
}

static void send_fin(struct tg_mux *m, uint32_t id)
{
    send_bare(m, FIN, id);
}

static void send_update(struct tg_mux *m, struct tg_mux_stream *st)
{
    uint8_t frame[HEAD + 8];
    put_head(m, frame, UPD, st->id, 8);
    put_u32(frame + HEAD, st->consumed);
    put_u32(frame + HEAD + 4, st->granted);
    tg_mux_queue(m, frame, sizeof(frame));
}

static void send_ping(struct tg_mux *m)
{
    send_bare(m, NOP, 0);
}

static uint32_t window_left(const struct tg_mux_stream *st)
{
    if (st->session->options.version < 2)
        return UINT32_MAX;
    uint32_t under_way = st->written - st->acked;
    return under_way < st->window ? st->window - under_way : 0;
}

static void take_update(struct tg_mux *m)
{
    struct tg_mux_stream *st = tg_mux_find(m, m->frame_id);
    if (st == NULL)
        return;
    uint32_t acked = get_u32(m->update);
    if (acked - st->acked > st->written - st->acked) {
        tg_mux_die(m, TG_PROTOCOL, "the peer consumed more than was sent");
        return;
    }
    st->acked = acked;
    st->window = get_u32(m->update + 4);
    tg_mux_resume(m, st);
}

/* A stream begins with the protocol's first window, whatever ours is; windows do not shrink later. */
static void check_window(struct tg_mux *m, uint32_t len)
{
    const struct tg_mux_stream *st = tg_mux_find(m, m->frame_id);
    if (st == NULL)
        return;
    uint32_t window = st->granted > TG_SMUX_FIRST_WINDOW ? st->granted : TG_SMUX_FIRST_WINDOW;
    if (st->received + len - st->reported > window)
        tg_mux_die(m, TG_PROTOCOL, "more than the window allows");
}

static void take_head(struct tg_mux *m)
{
    const uint8_t *h = m->head;
    m->frame_left = (uint32_t)h[2] | (uint32_t)h[3] << 8;
    m->frame_id = get_u32(h + 4);
    m->frame_data = h[1] == PSH;
    bool bare = h[1] == SYN || h[1] == FIN || h[1] == NOP;
    if (h[0] != m->options.version)
        tg_mux_die(m, TG_PROTOCOL, "a frame of another version: mux.type and mux.version must be the "
                                   "same at both ends");
    else if (h[1] > (m->options.version == 2 ? UPD : NOP))
        tg_mux_die(m, TG_PROTOCOL, "unknown kind of frame");
    else if ((bare && m->frame_left != 0) || (h[1] == UPD && m->frame_left != 8))
        tg_mux_die(m, TG_PROTOCOL, "a frame of the wrong length");
    else if (h[1] == SYN)
        tg_mux_take_syn(m, m->frame_id);
    else if (h[1] == FIN)
        tg_mux_take_fin(m, m->frame_id);
    else if (h[1] == PSH && m->options.version == 2)
        check_window(m, m->frame_left);
}

const struct tg_mux_wire tg_smux_wire = {
    .name = "smux",
    .head_len = HEAD,
    .data_head = data_head,
    .open = send_open,
    .accepted = accepted,
    .refuse = send_fin,
    .fin = send_fin,
    .update = send_update,
    .ping = send_ping,
    .window_left = window_left,
    .take_head = take_head,
    .take_rest = take_update,
};
