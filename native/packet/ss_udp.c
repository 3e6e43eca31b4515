#include "packet/ss_udp.h"

#include "base/mem.h"
#include "codec/address.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#define RETRIES 4     /* when all that came was dropped */
#define ID 8u         /* bytes of a session's name */
#define BLOCK 16u     /* session and number of a packet */
#define HEAD_MAX 19u  /* type, time, client's session, length of padding */
#define PAD_MAX 900u
#define DNS 53
#define NONCE_MAX 24u
#define AROUND_MAX (NONCE_MAX + BLOCK * (1 + TG_SS_IDENTITIES) + HEAD_MAX + PAD_MAX + TG_SOCKS_ADDRESS_MAX + \
                    TG_SS_SALT_MAX + TG_AEAD_TAG)
#define CHANGE_MS 60000u /* a server that changes its session more often is an attacker */

enum { TO_SERVER = 0, TO_CLIENT = 1 };

/* A peer's session, with 2022. */
struct session {
    uint8_t id[ID];
    struct tg_aead *open;       /* AES methods */
    const struct tg_ss_user *user;
    bool turned;                /* its name is taken backwards for the key, as gost does */
    struct tg_window window;    /* client */
};

/* A good datagram that nobody has asked for yet. */
struct pending {
    struct pending *next;
    struct tg_peer peer;
    char name[256];
    uint32_t len;
    uint8_t space[];
};

struct ss_udp {
    struct tg_packet base; /* first: a struct ss_udp is a struct tg_packet */
    struct tg_packet *lower;
    struct tg_ss_key *key;
    const struct tg_ss_method *m;
    bool server, wants, gost;
    bool over_aes;                /* 2022 with a separate header */
    struct tg_peer fixed;         /* client: the one destination, or with `gost` the last */
    char fixed_name[256];

    uint8_t id[ID];               /* own session */
    uint64_t next;                /* number of the next packet */
    struct tg_aead *seal;         /* AES methods of 2022 */
    struct session *newest, *older;
    uint64_t changed;             /* ms when `older` became that */

    struct pending *pending, **tail, *given;
    struct tg_defer defer;
};

static const struct tg_peer nobody;

/* Receiving -------------------------------------------------------------------------------------- */

static void free_session(struct session *s)
{
    if (s == NULL)
        return;
    tg_aead_free(s->open);
    free(s);
}

static const uint8_t *key_of(const struct ss_udp *u, const struct tg_ss_user *user)
{
    return user != NULL ? user->key : u->key->key;
}

static struct tg_aead *cipher_for(struct ss_udp *u, const uint8_t *key, const uint8_t *id, bool turned)
{
    uint8_t subkey[TG_AEAD_KEY_MAX], salt[ID];
    for (unsigned i = 0; i < ID; i++)
        salt[i] = id[turned ? ID - 1 - i : i];
    tg_ss_subkey(u->key, key, salt, ID, subkey);
    struct tg_aead *a = tg_aead_new(u->m->aead, subkey);
    OPENSSL_cleanse(subkey, sizeof(subkey));
    return a;
}

/* A session that begins with this packet, if that is authentic.  @return NULL: it is not */
static struct session *begin_session(struct ss_udp *u, const uint8_t *header, const struct tg_ss_user *user,
                                     uint8_t *body, uint32_t len)
{
    uint8_t *plain = tg_pool_scratch(&u->base.reactor->pool);
    for (int turned = 0; turned < 2; turned++) {
        struct tg_aead *open = cipher_for(u, key_of(u, user), header, turned);
        if (!tg_aead_open(open, header + 4, body, len, plain)) {
            tg_aead_free(open);
            continue;
        }
        struct session *s = tg_zalloc(sizeof(*s));
        memcpy(s->id, header, ID);
        s->open = open;
        s->user = user;
        s->turned = turned;
        memcpy(body, plain, len);
        return s;
    }
    return NULL;
}

static struct session *known_session(struct ss_udp *u, const uint8_t *id, const struct tg_ss_user *user)
{
    struct session *all[] = { u->newest, u->older };
    for (int i = 0; i < 2; i++)
        if (all[i] != NULL && all[i]->user == user && memcmp(all[i]->id, id, ID) == 0)
            return all[i];
    return NULL;
}

/* @return false: it is not to be believed, and freed */
static bool adopt(struct ss_udp *u, struct session *s)
{
    uint64_t now = u->base.reactor->now;
    if (!u->server && u->older != NULL && now - u->changed < CHANGE_MS) {
        free_session(s);
        return false;
    }
    free_session(u->server ? u->newest : u->older);
    u->older = u->server ? NULL : u->newest;
    u->newest = s;
    u->changed = now;
    if (u->server) { /* answers are a session of their own */
        tg_ss_random(u->id, ID);
        u->next = 0;
        tg_aead_free(u->seal);
        u->seal = u->over_aes ? cipher_for(u, key_of(u, s->user), u->id, s->turned) : NULL;
    }
    return true;
}

static bool is_fresh(struct ss_udp *u, struct session *s, const uint8_t *header)
{
    uint8_t name[ID + TG_SS_IDENTITY] = { 0 };
    uint64_t number = tg_u64(header + ID);
    if (!u->server)
        return tg_window_take(&s->window, number);
    memcpy(name, header, ID);
    if (s->user != NULL)
        memcpy(name + ID, s->user->identity, TG_SS_IDENTITY);
    return tg_replay_packet(u->key->replay, name, sizeof(name), number, u->base.reactor->now);
}

/* What an authentic packet of 2022 says before its address.  @return its length, or -1: drop it */
static ssize_t check_head(struct ss_udp *u, const uint8_t *at, uint32_t len)
{
    uint32_t head = u->server ? HEAD_MAX - ID : HEAD_MAX;
    if (len < head || at[0] != (u->server ? TO_SERVER : TO_CLIENT) || !tg_ss_timely(at + 1))
        return -1;
    if (!u->server && memcmp(at + 9, u->id, ID) != 0)
        return -1;
    uint32_t pad = tg_u16(at + head - 2);
    return len - head >= pad ? (ssize_t)(head + pad) : -1;
}

struct body {
    uint8_t *at;
    uint32_t len;
};

/* Take head and padding off.  `s` is freed when it `begins` and is not to be believed. */
static bool accept_body(struct ss_udp *u, struct session *s, bool begins, const uint8_t *header, struct body *b)
{
    ssize_t head = check_head(u, b->at, b->len);
    if (head < 0 || !is_fresh(u, s, header)) {
        if (begins)
            free_session(s);
        return false;
    }
    b->at += head;
    b->len -= (uint32_t)head;
    return !begins || adopt(u, s);
}

static bool open_aes(struct ss_udp *u, uint8_t *data, uint32_t len, struct body *b)
{
    uint8_t header[BLOCK], identity[BLOCK];
    const struct tg_ss_user *user = NULL;
    uint32_t at = BLOCK;
    if (len < BLOCK)
        return false;
    tg_ss_block(u->key, false, u->key->key, data, header);
    if (u->server && u->key->user_count > 0) {
        at += BLOCK;
        if (len < at)
            return false;
        tg_ss_block(u->key, false, u->key->key, data + BLOCK, identity);
        for (unsigned i = 0; i < BLOCK; i++)
            identity[i] ^= header[i];
        user = tg_ss_user_find(u->key, identity);
        if (user == NULL)
            return false;
    }
    if (len < at + TG_AEAD_TAG)
        return false;
    *b = (struct body){ data + at, len - at - TG_AEAD_TAG };
    struct session *s = known_session(u, header, user);
    bool begins = s == NULL;
    if (begins)
        s = begin_session(u, header, user, b->at, b->len);
    else if (!tg_aead_open(s->open, header + 4, b->at, b->len, b->at))
        return false;
    return s != NULL && accept_body(u, s, begins, header, b);
}

static bool open_chacha(struct ss_udp *u, uint8_t *data, uint32_t len, struct body *b)
{
    if (len < NONCE_MAX + BLOCK + TG_AEAD_TAG)
        return false;
    uint8_t *header = data + NONCE_MAX;
    len -= NONCE_MAX + TG_AEAD_TAG;
    if (!tg_aead_open(u->key->packet, data, header, len, header))
        return false;
    *b = (struct body){ header + BLOCK, len - BLOCK };
    struct session *s = known_session(u, header, NULL);
    bool begins = s == NULL;
    if (begins) {
        s = tg_zalloc(sizeof(*s));
        memcpy(s->id, header, ID);
    }
    return accept_body(u, s, begins, header, b);
}

static bool open_aead(struct ss_udp *u, uint8_t *data, uint32_t len, struct body *b)
{
    uint8_t subkey[TG_AEAD_KEY_MAX], nonce[TG_AEAD_NONCE_MAX] = { 0 };
    uint32_t salt = u->m->salt_len;
    if (len < salt + TG_AEAD_TAG)
        return false;
    tg_ss_subkey(u->key, u->key->key, data, salt, subkey);
    tg_aead_rekey(u->key->packet, subkey);
    OPENSSL_cleanse(subkey, sizeof(subkey));
    *b = (struct body){ data + salt, len - salt - TG_AEAD_TAG };
    return tg_aead_open(u->key->packet, nonce, b->at, b->len, b->at);
}

static void apply_legacy(struct ss_udp *u, bool encrypt, const uint8_t *salt, uint8_t *data, uint32_t len)
{
    uint8_t iv[16] = { 0 };
    int n;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    memcpy(iv + u->m->counter, salt, u->m->salt_len);
    if (ctx == NULL || EVP_CipherInit_ex(ctx, u->m->cipher(), NULL, u->key->key, iv, encrypt) != 1 ||
        EVP_CipherUpdate(ctx, data, &n, data, (int)len) != 1)
        abort();
    EVP_CIPHER_CTX_free(ctx);
}

/* Salt or nothing in front. */
static bool open_weak(struct ss_udp *u, uint8_t *data, uint32_t len, struct body *b)
{
    uint32_t salt = u->m->salt_len;
    if (len < salt)
        return false;
    *b = (struct body){ data + salt, len - salt };
    if (u->m->kind == TG_SS_STREAM && b->len > 0)
        apply_legacy(u, false, data, b->at, b->len);
    return true;
}

static bool open_any(struct ss_udp *u, uint8_t *data, uint32_t len, struct body *b)
{
    if (u->m->kind == TG_SS_2022)
        return u->over_aes ? open_aes(u, data, len, b) : open_chacha(u, data, len, b);
    return u->m->kind == TG_SS_AEAD ? open_aead(u, data, len, b) : open_weak(u, data, len, b);
}

/* Make of it what the client or the target sent.  @return false: drop it */
static bool decode(struct ss_udp *u, struct tg_datagram *d)
{
    struct tg_target target;
    struct tg_error ignored;
    struct body b;
    if (!open_any(u, d->data, d->len, &b))
        return false;
    bool bare = u->gost && !u->server && u->m->kind != TG_SS_2022;
    ssize_t n = bare ? 0 : tg_socks_address_decode(b.at, b.len, &target, &ignored);
    if (n < 0)
        return false;
    d->peer = nobody;
    if (bare && u->base.any_peer)
        d->peer = u->fixed;
    else if (u->base.any_peer) /* a name ends where its port begins */
        tg_peer_from_target(&d->peer, &target, b.at + n - 2 - target.len);
    d->headroom += (uint32_t)(b.at + n - d->data);
    d->data = b.at + n;
    d->len = b.len - (uint32_t)n;
    u->base.rx += d->len;
    return true;
}

/* @return how many are left, at the front */
static int decode_all(struct ss_udp *u, struct tg_datagram *all, int count)
{
    int kept = 0;
    for (int i = 0; i < count; i++) {
        if (!decode(u, &all[i]))
            continue;
        if (kept != i)
            all[kept] = all[i];
        kept++;
    }
    return kept;
}

static void free_pending(struct pending *p)
{
    while (p != NULL) {
        struct pending *next = p->next;
        free(p);
        p = next;
    }
}

static void keep(struct ss_udp *u, const struct tg_datagram *d)
{
    struct pending *p = malloc(sizeof(*p) + TG_PACKET_HEADROOM + d->len);
    if (p == NULL)
        return; /* lost, as in the network */
    p->next = NULL;
    p->peer = d->peer;
    p->len = d->len;
    if (d->peer.name_len > 0)
        memcpy(p->name, d->peer.name, d->peer.name_len);
    memcpy(p->space + TG_PACKET_HEADROOM, d->data, d->len);
    *u->tail = p;
    u->tail = &p->next;
}

static int give_pending(struct ss_udp *u, struct tg_datagram *out, int count)
{
    int n = 0;
    struct pending **given = &u->given;
    while (n < count && u->pending != NULL) {
        struct pending *p = u->pending;
        u->pending = p->next;
        p->next = NULL;
        *given = p;
        given = &p->next;
        p->peer.name = p->name;
        out[n++] = (struct tg_datagram){
            .data = p->space + TG_PACKET_HEADROOM, .len = p->len, .headroom = TG_PACKET_HEADROOM, .peer = p->peer,
        };
    }
    if (u->pending == NULL)
        u->tail = &u->pending;
    return n;
}

static int ss_recv(struct tg_packet *p, struct tg_datagram *out, int count)
{
    struct ss_udp *u = (struct ss_udp *)p;
    free_pending(u->given);
    u->given = NULL;
    if (u->pending != NULL)
        return give_pending(u, out, count);
    for (int try = 0; try < RETRIES; try++) {
        int n = tg_packet_recv(u->lower, out, count);
        if (n < 0) {
            if (n != TG_AGAIN && n != TG_EOF)
                p->error = u->lower->error;
            return n;
        }
        n = decode_all(u, out, n);
        if (n > 0)
            return n;
    }
    return TG_AGAIN; /* still readable: asked again next turn */
}

int tg_ss_udp_verify(struct tg_packet *p)
{
    struct ss_udp *u = (struct ss_udp *)p;
    struct tg_datagram in[TG_PACKET_BATCH];
    int kept = 0, n = tg_packet_recv(u->lower, in, TG_PACKET_BATCH);
    n = n > 0 ? decode_all(u, in, n) : 0;
    for (; kept < n; kept++)
        keep(u, &in[kept]);
    return kept;
}

/* Sending ---------------------------------------------------------------------------------------- */

/* Encrypt behind the header.  @return what follows */
static uint8_t *put_2022(struct ss_udp *u, struct iovec parts[4], bool pads, uint8_t *out)
{
    uint8_t header[BLOCK], head[HEAD_MAX + PAD_MAX], *at = out;
    struct session *s = u->newest;
    uint32_t len = u->server ? HEAD_MAX : HEAD_MAX - ID, pad = 0;
    if (pads) {
        tg_ss_random(&pad, sizeof(pad));
        pad %= PAD_MAX;
        tg_ss_random(head + len, pad);
    }
    memcpy(header, u->id, ID);
    tg_put_u64(header + ID, u->next++);
    head[0] = u->server ? TO_CLIENT : TO_SERVER;
    tg_put_u64(head + 1, tg_ss_time());
    if (u->server)
        memcpy(head + 9, s->id, ID);
    tg_put_u16(head + len - 2, pad);
    parts[1] = (struct iovec){ head, len + pad };
    size_t sum = parts[1].iov_len + parts[2].iov_len + parts[3].iov_len;
    if (!u->over_aes) {
        tg_ss_random(at, NONCE_MAX);
        parts[0] = (struct iovec){ header, BLOCK };
        tg_aead_seal(u->key->packet, at, parts, 4, at + NONCE_MAX);
        return at + NONCE_MAX + BLOCK + sum + TG_AEAD_TAG;
    }
    struct tg_ss_key *k = u->key;
    const uint8_t *outer = k->identities > 0 ? k->identity_key[0] : key_of(u, u->server ? s->user : NULL);
    tg_ss_block(k, true, outer, header, at);
    at += BLOCK;
    for (unsigned i = 0; i < k->identities; i++, at += BLOCK) {
        uint8_t name[BLOCK];
        for (unsigned j = 0; j < BLOCK; j++)
            name[j] = k->identity[i][j] ^ header[j];
        tg_ss_block(k, true, k->identity_key[i], name, at);
    }
    tg_aead_seal(u->seal, header + 4, parts + 1, 3, at);
    return at + sum + TG_AEAD_TAG;
}

static uint8_t *put_classic(struct ss_udp *u, const struct iovec *parts, uint8_t *out)
{
    uint8_t subkey[TG_AEAD_KEY_MAX], nonce[TG_AEAD_NONCE_MAX] = { 0 };
    uint8_t *body = out + u->m->salt_len;
    uint32_t len = (uint32_t)(parts[0].iov_len + parts[1].iov_len);
    tg_ss_salt(u->key, out);
    if (u->m->kind == TG_SS_AEAD) {
        tg_ss_subkey(u->key, u->key->key, out, u->m->salt_len, subkey);
        tg_aead_rekey(u->key->packet, subkey);
        OPENSSL_cleanse(subkey, sizeof(subkey));
        tg_aead_seal(u->key->packet, nonce, parts, 2, body);
        return body + len + TG_AEAD_TAG;
    }
    memcpy(body, parts[0].iov_base, parts[0].iov_len);
    if (parts[1].iov_len > 0)
        memcpy(body + parts[0].iov_len, parts[1].iov_base, parts[1].iov_len);
    if (u->m->kind == TG_SS_STREAM)
        apply_legacy(u, true, out, body, len);
    return body + len;
}

static void set_fixed(struct ss_udp *u, const struct tg_peer *peer)
{
    u->fixed = *peer;
    if (peer->name_len > 0)
        memcpy(u->fixed_name, peer->name, peer->name_len);
    u->fixed.name = u->fixed_name;
}

/* @return behind what was put at `out` */
static uint8_t *encode(struct ss_udp *u, const struct tg_datagram *d, uint8_t *out)
{
    uint8_t address[TG_SOCKS_ADDRESS_MAX];
    struct tg_target target;
    struct iovec parts[4];
    tg_peer_to_target(u->base.any_peer ? &d->peer : &u->fixed, &target);
    ssize_t n = tg_socks_address_encode(&target, TG_EMPTY_AS_IPV4, address, sizeof(address));
    assert(n > 0); /* nothing that a peer can be is too long */
    if (u->gost && u->server && u->m->kind != TG_SS_2022)
        n = 0;
    if (u->gost && u->base.any_peer && !u->server)
        set_fixed(u, &d->peer);
    parts[2] = (struct iovec){ address, (size_t)n };
    parts[3] = (struct iovec){ d->data, d->len };
    if (u->m->kind == TG_SS_2022)
        return put_2022(u, parts, target.port == DNS, out);
    return put_classic(u, parts + 2, out);
}

static int ss_send(struct tg_packet *p, struct tg_datagram *in, int count)
{
    struct ss_udp *u = (struct ss_udp *)p;
    struct tg_datagram out[TG_PACKET_BATCH];
    struct tg_pool *pool = &p->reactor->pool;
    int sent = 0, held = 0, code = 0;
    if (u->server && u->m->kind == TG_SS_2022 && u->newest == NULL)
        return 0; /* nobody to answer */
    struct tg_buf *b = NULL;
    for (int i = 0; i < count && code >= 0; i++) {
        size_t size = TG_PACKET_HEADROOM + AROUND_MAX + (size_t)in[i].len;
        if (in[i].len > TG_PACKET_MAX)
            continue;
        if (b != NULL && (tg_buf_room(b) < size || held == TG_PACKET_BATCH)) {
            code = tg_packet_send(u->lower, out, held);
            sent += code > 0 ? code : 0;
            held = 0;
            b->end = 0;
        }
        if (b != NULL && tg_buf_room(b) < size) {
            tg_buf_put(pool, b);
            b = NULL;
        }
        if (b == NULL)
            b = tg_buf_get(pool, count == 1 || size > TG_BUF_LARGE ? size : TG_BUF_LARGE);
        if (b == NULL)
            continue; /* lost, as in the network */
        uint8_t *at = b->data + b->end + TG_PACKET_HEADROOM, *end = encode(u, &in[i], at);
        out[held++] = (struct tg_datagram){ .data = at, .len = (uint32_t)(end - at),
                                            .headroom = TG_PACKET_HEADROOM };
        b->end = (uint32_t)(end - b->data);
        p->tx += in[i].len;
    }
    if (held > 0 && code >= 0) {
        code = tg_packet_send(u->lower, out, held);
        sent += code > 0 ? code : 0;
    }
    tg_buf_put(pool, b);
    if (code < 0)
        p->error = u->lower->error;
    return code < 0 ? code : sent;
}

/* The rest --------------------------------------------------------------------------------------- */

static void on_defer(void *arg)
{
    struct ss_udp *u = arg;
    if (!u->wants || u->pending == NULL)
        return;
    tg_defer(u->base.reactor, &u->defer); /* again next turn, should nobody take it */
    if (u->base.on_ready != NULL)
        u->base.on_ready(u->base.ready_arg, TG_READABLE); /* last: `u` may be gone now */
}

static void on_lower(void *arg, unsigned events)
{
    struct ss_udp *u = arg;
    if (u->base.on_ready != NULL)
        u->base.on_ready(u->base.ready_arg, events); /* last: `u` may be gone now */
}

static void on_sink(void *arg, struct tg_datagram *in, int count)
{
    struct ss_udp *u = arg;
    count = decode_all(u, in, count);
    if (count > 0)
        u->base.sink(u->base.sink_arg, in, count); /* last */
}

static void ss_want(struct tg_packet *p, bool readable)
{
    struct ss_udp *u = (struct ss_udp *)p;
    u->wants = readable;
    u->lower->sink = p->sink != NULL ? on_sink : NULL;
    u->lower->sink_arg = u;
    tg_packet_want(u->lower, readable);
    if (readable && u->pending != NULL)
        tg_defer(p->reactor, &u->defer);
}

static void ss_close(struct tg_packet *p)
{
    struct ss_udp *u = (struct ss_udp *)p;
    tg_defer_cancel(p->reactor, &u->defer);
    tg_packet_close(u->lower);
    free_pending(u->pending);
    free_pending(u->given);
    free_session(u->newest);
    free_session(u->older);
    tg_aead_free(u->seal);
    tg_ss_key_drop(u->key);
    free(u);
}

static int ss_name_of(const struct tg_packet *p, bool peer, struct tg_addr *out)
{
    return tg_packet_name(((const struct ss_udp *)p)->lower, peer, out);
}

static const struct tg_packet_ops ss_ops = {
    .name = "shadowsocks",
    .recv = ss_recv,
    .send = ss_send,
    .want = ss_want,
    .close = ss_close,
    .name_of = ss_name_of,
};

static struct ss_udp *start(struct tg_packet *lower, struct tg_ss_key *key, bool gost)
{
    struct ss_udp *u = tg_zalloc(sizeof(*u));
    u->base.ops = &ss_ops;
    u->base.reactor = lower->reactor;
    u->base.pushes = lower->pushes;
    u->base.carried = lower->carried;
    u->base.any_peer = true;
    u->gost = gost;
    u->lower = lower;
    u->key = tg_ss_key_hold(key);
    u->m = key->method;
    u->over_aes = u->m->kind == TG_SS_2022 && u->m->aead != TG_AEAD_CHACHA20_POLY1305;
    u->tail = &u->pending;
    u->defer = (struct tg_defer){ .cb = on_defer, .arg = u };
    lower->on_ready = on_lower;
    lower->ready_arg = u;
    return u;
}

struct tg_packet *tg_ss_udp_client(struct tg_packet *lower, struct tg_ss_key *key, const struct tg_peer *fixed,
                                   bool gost)
{
    struct ss_udp *u = start(lower, key, gost);
    u->base.takes_names = true;
    if (fixed != NULL) {
        u->base.any_peer = false;
        set_fixed(u, fixed);
    }
    tg_ss_random(u->id, ID);
    u->seal = u->over_aes ? cipher_for(u, key->key, u->id, gost) : NULL;
    return &u->base;
}

struct tg_packet *tg_ss_udp_server(struct tg_packet *lower, struct tg_ss_key *key, bool gost)
{
    struct ss_udp *u = start(lower, key, gost);
    u->server = true;
    return &u->base;
}

const char *tg_ss_udp_user(const struct tg_packet *p)
{
    const struct ss_udp *u = (const struct ss_udp *)p;
    assert(p->ops == &ss_ops);
    return u->newest != NULL && u->newest->user != NULL ? u->newest->user->name : NULL;
}
