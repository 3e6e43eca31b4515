#include "codec/relay_message.h"

#include <string.h>

#define LAYER "relay"

enum feature { USER = 1, ADDRESS = 2, TUNNEL = 3, NETWORK = 4 };

static int wrong(struct tg_error *err, const char *detail)
{
    return tg_error_put(err, LAYER, "decode", TG_PROTOCOL, detail);
}

static int take_user(struct tg_relay_message *m, const uint8_t *data, size_t len,
                     struct tg_error *err)
{
    size_t user = len > 0 ? data[0] : 0;
    if (len < 2 + user || len < 2 + user + data[1 + user])
        return wrong(err, "the credentials are cut short");
    m->user = (struct tg_span){ data + 1, user };
    m->pass = (struct tg_span){ data + 2 + user, data[1 + user] };
    m->has_user = true;
    return 0;
}

static int take_address(struct tg_relay_message *m, const uint8_t *data, size_t len,
                        struct tg_error *err)
{
    struct tg_target *t = m->has_target ? &m->second : &m->target;
    ssize_t n = tg_socks_address_decode(data, len, t, err);
    if (n == TG_AGAIN)
        return wrong(err, "an address is cut short");
    if (n < 0)
        return (int)n;
    m->has_second = m->has_target;
    m->has_target = true;
    return 0;
}

static int take_feature(struct tg_relay_message *m, uint8_t type, const uint8_t *data, size_t len,
                        struct tg_error *err)
{
    switch (type) {
    case USER:
        return take_user(m, data, len, err);
    case ADDRESS:
        return take_address(m, data, len, err);
    case NETWORK:
        if (len < 2)
            return wrong(err, "the network is cut short");
        m->network = tg_u16(data);
        m->has_network = true;
        return 0;
    default:
        return 0;
    }
}

ssize_t tg_relay_message_decode(const uint8_t *in, size_t len, struct tg_relay_message *out,
                                struct tg_error *err)
{
    if (len > 0 && in[0] != 1)
        return wrong(err, "not version 1");
    if (len < 4)
        return TG_AGAIN;
    size_t whole = 4u + tg_u16(in + 2);
    if (len < whole)
        return TG_AGAIN;
    memset(out, 0, offsetof(struct tg_relay_message, target));
    out->code = in[1];
    for (size_t at = 4; at < whole;) {
        if (whole - at < 3)
            return wrong(err, "a feature is cut short");
        size_t size = tg_u16(in + at + 1);
        if (whole - at - 3 < size)
            return wrong(err, "a feature is longer than the message");
        int code = take_feature(out, in[at], in + at + 3, size, err);
        if (code < 0)
            return code;
        at += 3 + size;
    }
    return (ssize_t)whole;
}

/* --- writing ------------------------------------------------------------------------------ */

struct writer {
    uint8_t *at, *end;
    bool full;
};

static uint8_t *begin_feature(struct writer *w, enum feature type)
{
    if (w->full || w->end - w->at < 3) {
        w->full = true;
        return NULL;
    }
    uint8_t *head = w->at;
    head[0] = (uint8_t)type;
    w->at += 3;
    return head;
}

static void end_feature(struct writer *w, uint8_t *head)
{
    tg_put_u16(head + 1, (unsigned)(w->at - head - 3));
}

static void put_short(struct writer *w, struct tg_span s)
{
    if (s.len > 255 || (size_t)(w->end - w->at) < 1 + s.len) {
        w->full = true;
        return;
    }
    *w->at++ = (uint8_t)s.len;
    if (s.len > 0)
        memcpy(w->at, s.data, s.len);
    w->at += s.len;
}

static void put_user(struct writer *w, const struct tg_relay_message *m)
{
    uint8_t *head = m->has_user ? begin_feature(w, USER) : NULL;
    if (head == NULL)
        return;
    put_short(w, m->user);
    put_short(w, m->pass);
    end_feature(w, head);
}

static void put_network(struct writer *w, const struct tg_relay_message *m)
{
    uint8_t *head = m->has_network ? begin_feature(w, NETWORK) : NULL;
    if (head == NULL)
        return;
    if (w->end - w->at < 2) {
        w->full = true;
        return;
    }
    tg_put_u16(w->at, m->network);
    w->at += 2;
    end_feature(w, head);
}

static void put_target(struct writer *w, const struct tg_target *t, bool there)
{
    uint8_t *head = there ? begin_feature(w, ADDRESS) : NULL;
    if (head == NULL)
        return;
    ssize_t n = tg_socks_address_encode(t, TG_EMPTY_AS_NAME, w->at, (size_t)(w->end - w->at));
    if (n < 0) {
        w->full = true;
        return;
    }
    w->at += n;
    end_feature(w, head);
}

ssize_t tg_relay_message_encode(const struct tg_relay_message *m, uint8_t *out, size_t size)
{
    if (size < 4)
        return TG_LIMIT;
    struct writer w = { .at = out + 4, .end = out + size };
    bool bind = (m->code & 0x0f) == TG_RELAY_BIND;
    if (bind)
        put_user(&w, m);
    put_network(&w, m);
    if (!bind)
        put_user(&w, m);
    put_target(&w, &m->target, m->has_target);
    put_target(&w, &m->second, m->has_second);
    size_t features = (size_t)(w.at - out - 4);
    if (w.full || features > 65535)
        return TG_LIMIT;
    out[0] = 1;
    out[1] = m->code;
    tg_put_u16(out + 2, (unsigned)features);
    return w.at - out;
}
