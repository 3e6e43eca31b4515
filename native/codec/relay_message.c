#include "codec/relay_message.h"

#include <string.h>

enum { VERSION = 1, FEATURE_HEAD = 3 };
enum { AUTH = 1, ADDRESS = 2, TUNNEL = 3, NETWORK = 4, METADATA = 5 };

static int broken(struct tg_error *err, const char *detail)
{
    return tg_error_put(err, "relay", "decode", TG_PROTOCOL, detail);
}

static int too_many(struct tg_error *err, const char *detail)
{
    return tg_error_put(err, "relay", "decode", TG_LIMIT, detail);
}

static int read_auth(struct tg_relay_message *m, const uint8_t *in, size_t len,
                     struct tg_error *err)
{
    size_t user = len > 0 ? in[0] : 0;
    size_t pass = len > 1 + user ? in[1 + user] : 0;
    if (len < 2 + user + pass)
        return broken(err, "malformed user feature");
    m->has_auth = true;
    m->user = (struct tg_span){ in + 1, user };
    m->pass = (struct tg_span){ in + 2 + user, pass };
    return 0;
}

static int read_address(struct tg_relay_message *m, const uint8_t *in, size_t len,
                        struct tg_error *err)
{
    if (m->address_count == TG_RELAY_ADDRESSES_MAX)
        return too_many(err, "too many addresses");
    ssize_t n = tg_socks_address_decode(in, len, &m->addresses[m->address_count], err);
    if (n == TG_AGAIN)
        return broken(err, "malformed address feature");
    if (n < 0) {
        err->layer = "relay";
        return (int)n;
    }
    m->address_count++;
    return 0;
}

/* One LEN(2) DATA.  @return false: there is not that much */
static bool take_string(const uint8_t *in, size_t len, size_t *at, struct tg_span *out)
{
    if (len - *at < 2 || len - *at - 2 < tg_u16(in + *at))
        return false;
    *out = (struct tg_span){ in + *at + 2, tg_u16(in + *at) };
    *at += 2 + out->len;
    return true;
}

static int read_metadata(struct tg_relay_message *m, const uint8_t *in, size_t len,
                         struct tg_error *err)
{
    if (len < 2)
        return broken(err, "malformed metadata feature");
    unsigned count = tg_u16(in);
    if (count > TG_RELAY_METADATA_MAX)
        return too_many(err, "too much metadata");
    size_t at = 2;
    for (unsigned i = 0; i < count; i++)
        if (!take_string(in, len, &at, &m->metadata[i].key) ||
            !take_string(in, len, &at, &m->metadata[i].value))
            return broken(err, "malformed metadata feature");
    m->metadata_count = (uint8_t)count;
    return 0;
}

static int read_feature(struct tg_relay_message *m, uint8_t type, const uint8_t *in, size_t len,
                        struct tg_error *err)
{
    switch (type) {
    case AUTH:
        return read_auth(m, in, len, err);
    case ADDRESS:
        return read_address(m, in, len, err);
    case TUNNEL:
        if (len < TG_RELAY_TUNNEL_MIN)
            return broken(err, "malformed tunnel feature");
        m->tunnel = (struct tg_span){ in, len < TG_RELAY_TUNNEL_MAX ? len : TG_RELAY_TUNNEL_MAX };
        return 0;
    case NETWORK:
        if (len < 2)
            return broken(err, "malformed network feature");
        m->has_network = true;
        m->network = tg_u16(in);
        return 0;
    case METADATA:
        return read_metadata(m, in, len, err);
    default:
        return 0;
    }
}

ssize_t tg_relay_message_decode(const uint8_t *in, size_t len, struct tg_relay_message *out,
                                struct tg_error *err)
{
    if (len >= 1 && in[0] != VERSION)
        return broken(err, "the version is not 1; the peer may speak another transport or protocol");
    if (len < TG_RELAY_HEAD)
        return TG_AGAIN;
    size_t end = TG_RELAY_HEAD + tg_u16(in + 2);
    if (len < end)
        return TG_AGAIN;
    out->code = in[1];
    out->address_count = out->metadata_count = 0;
    out->has_auth = out->has_network = false;
    out->network = TG_RELAY_TCP;
    out->user = out->pass = out->tunnel = (struct tg_span){ NULL, 0 };
    for (size_t at = TG_RELAY_HEAD; at < end;) {
        size_t size = end - at >= FEATURE_HEAD ? tg_u16(in + at + 1) : 0;
        if (end - at < FEATURE_HEAD + size)
            return broken(err, "a feature is longer than the message");
        int rc = read_feature(out, in[at], in + at + FEATURE_HEAD, size, err);
        if (rc < 0)
            return rc;
        at += FEATURE_HEAD + size;
    }
    return (ssize_t)end;
}

/* Where the message is written; `at` beyond `size` when it does not fit. */
struct writer {
    uint8_t *out;
    size_t at, size;
    bool failed;
};

static uint8_t *claim(struct writer *w, size_t n)
{
    if (w->failed || w->size - w->at < n) {
        w->failed = true;
        return NULL;
    }
    w->at += n;
    return w->out + w->at - n;
}

static uint8_t *claim_feature(struct writer *w, uint8_t type, size_t n)
{
    uint8_t *p = n <= 65535 ? claim(w, FEATURE_HEAD + n) : NULL;
    if (p == NULL) {
        w->failed = true;
        return NULL;
    }
    p[0] = type;
    tg_put_u16(p + 1, (unsigned)n);
    return p + FEATURE_HEAD;
}

static void write_network(struct writer *w, const struct tg_relay_message *m)
{
    uint8_t *p = m->has_network ? claim_feature(w, NETWORK, 2) : NULL;
    if (p != NULL)
        tg_put_u16(p, m->network);
}

static uint8_t *put_span(uint8_t *p, struct tg_span s)
{
    if (s.len > 0)
        memcpy(p, s.data, s.len);
    return p + s.len;
}

static void write_auth(struct writer *w, const struct tg_relay_message *m)
{
    if (!m->has_auth)
        return;
    bool fits = m->user.len <= 255 && m->pass.len <= 255;
    uint8_t *p = fits ? claim_feature(w, AUTH, 2 + m->user.len + m->pass.len) : NULL;
    if (p == NULL) {
        w->failed = true;
        return;
    }
    *p++ = (uint8_t)m->user.len;
    p = put_span(p, m->user);
    *p++ = (uint8_t)m->pass.len;
    put_span(p, m->pass);
}

static void write_addresses(struct writer *w, const struct tg_relay_message *m)
{
    for (unsigned i = 0; i < m->address_count; i++) {
        uint8_t form[TG_SOCKS_ADDRESS_MAX];
        ssize_t n = tg_socks_address_encode(&m->addresses[i], TG_EMPTY_AS_NAME, form, sizeof(form));
        uint8_t *p = claim_feature(w, ADDRESS, (size_t)n);
        if (p != NULL)
            memcpy(p, form, (size_t)n);
    }
}

static void write_tunnel(struct writer *w, const struct tg_relay_message *m)
{
    if (m->tunnel.data == NULL)
        return;
    bool fits = m->tunnel.len >= TG_RELAY_TUNNEL_MIN && m->tunnel.len <= TG_RELAY_TUNNEL_MAX;
    uint8_t *p = fits ? claim_feature(w, TUNNEL, m->tunnel.len) : NULL;
    if (p != NULL)
        put_span(p, m->tunnel);
    else
        w->failed = true;
}

static void write_metadata(struct writer *w, const struct tg_relay_message *m)
{
    size_t n = 2;
    if (m->metadata_count == 0)
        return;
    for (unsigned i = 0; i < m->metadata_count; i++) {
        if (m->metadata[i].key.len > 255 || m->metadata[i].value.len > 255)
            w->failed = true;
        n += 4 + m->metadata[i].key.len + m->metadata[i].value.len;
    }
    uint8_t *p = claim_feature(w, METADATA, n);
    if (p == NULL)
        return;
    tg_put_u16(p, m->metadata_count);
    p += 2;
    for (unsigned i = 0; i < m->metadata_count; i++) {
        tg_put_u16(p, (unsigned)m->metadata[i].key.len);
        p = put_span(p + 2, m->metadata[i].key);
        tg_put_u16(p, (unsigned)m->metadata[i].value.len);
        p = put_span(p + 2, m->metadata[i].value);
    }
}

ssize_t tg_relay_message_encode(const struct tg_relay_message *m, uint8_t *out, size_t size)
{
    struct writer w = { .out = out, .size = size };
    uint8_t *head = claim(&w, TG_RELAY_HEAD);
    bool connects = (m->code & 0x0f) == TG_RELAY_CONNECT;
    if (connects)
        write_network(&w, m);
    write_auth(&w, m);
    if (!connects)
        write_network(&w, m);
    write_addresses(&w, m);
    write_tunnel(&w, m);
    write_metadata(&w, m);
    if (w.failed || w.at > TG_RELAY_MESSAGE_MAX)
        return TG_LIMIT;
    head[0] = VERSION;
    head[1] = m->code;
    tg_put_u16(head + 2, (unsigned)(w.at - TG_RELAY_HEAD));
    return (ssize_t)w.at;
}
