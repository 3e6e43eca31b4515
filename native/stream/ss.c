#include "stream/ss.h"

#include "base/mem.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH_MAX 0x3fffu      /* of a chunk, but for 2022 */
#define LENGTH_2022 0x8000u     /* of those we send: peers have to hold it whole */
#define OUTPUT (132u * 1024u)   /* what a relay reads at once, and what is around it */
#define INPUT_FIRST 16384u
#define INPUT_BUSY OUTPUT
#define IDLE_INPUT 2048u /* what is left over and shorter is kept in a small buffer */
#define PARTS_MAX 64
#define READS_MAX 16 /* in one call, when nothing comes of them */
#define PAD_MAX 900u
#define FIXED 11u    /* type, time, length */
#define HEAD_MAX (TG_SS_SALT_MAX + TG_SS_IDENTITIES * TG_SS_IDENTITY + 2 * TG_AEAD_TAG + FIXED + \
                  TG_SS_SALT_MAX + TG_SOCKS_ADDRESS_MAX + 2 + PAD_MAX + 2 + TG_AEAD_TAG)
#define HOLD_TURNS 2 /* a task that is woken in this turn may still write first */

enum { REQUEST = 0, RESPONSE = 1 };

/* What comes next. */
enum stage {
    SALT,     /* of 2022 with the header behind it */
    REST,     /* a request's second part: address, padding, first bytes */
    LENGTH,
    PAYLOAD,
};

struct ss {
    struct tg_stream base; /* first: a struct ss is a struct tg_stream */
    struct tg_ss_key *key;
    const struct tg_ss_method *m;
    const struct tg_ss_user *user; /* server: the one whose key it is */
    bool client;

    /* receiving */
    struct tg_aead *open;   /* NULL before the salt, and without AEAD */
    EVP_CIPHER_CTX *decrypt; /* legacy methods */
    uint8_t nonce_in[TG_AEAD_NONCE_MAX];
    struct tg_buf *in; /* not delivered; NULL: nothing */
    uint32_t plain;    /* of it, decrypted already, at the front */
    uint32_t behind;   /* bytes after those that are done with */
    uint32_t wanted;   /* bytes without which the next stage cannot go on */
    uint32_t need;     /* payload of the chunk at hand */
    uint8_t stage;
    bool dry;          /* more must be read first */
    bool busy;         /* the last read was a full one */
    const char *broken; /* told once what came before has been delivered */
    enum tg_code broken_code;

    /* sending */
    struct tg_aead *seal;   /* NULL before the salt, and without AEAD */
    EVP_CIPHER_CTX *encrypt;
    uint8_t nonce_out[TG_AEAD_NONCE_MAX];
    struct tg_buf *out; /* what `lower` has not taken; NULL: nothing */
    size_t owed;        /* the user's bytes in it, not counted as written yet */
    uint8_t request[TG_SS_SALT_MAX]; /* salt of the request */
    uint8_t *address;   /* client: SOCKS form, until the request has gone */
    uint16_t address_len;
    uint8_t hold;       /* turns until the request goes without data */
    bool begun;         /* the salt has gone */
    struct tg_defer defer;
};

static const struct tg_stream_ops ss_ops;

static struct ss *ss_of(struct tg_stream *s)
{
    return (struct ss *)s;
}

static int lower_failed(struct ss *w)
{
    struct tg_stream *s = &w->base;
    if (s->state == TG_STREAM_FAILED)
        return s->error.code;
    if (w->client && s->rx == 0 && s->lower->error.code == TG_RESET)
        return tg_stream_break(s, "read", TG_RESET,
                               "the server closed before it answered: is the password or method another one there?");
    return tg_stream_inherit(s);
}

static size_t tag_of(const struct ss *w)
{
    return w->m->kind == TG_SS_CLEAR ? 0 : TG_AEAD_TAG;
}

static bool has_chunks(const struct ss *w)
{
    return w->m->kind != TG_SS_STREAM && w->m->kind != TG_SS_PLAIN;
}

static EVP_CIPHER_CTX *legacy(const struct ss *w, const uint8_t *salt, bool encrypt)
{
    uint8_t iv[16] = { 0 };
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    memcpy(iv + w->m->counter, salt, w->m->salt_len);
    if (ctx == NULL || EVP_CipherInit_ex(ctx, w->m->cipher(), NULL, w->key->key, iv, encrypt) != 1)
        abort();
    return ctx;
}

static struct tg_aead *cipher_for(const struct ss *w, const uint8_t *key, const uint8_t *salt)
{
    return tg_ss_cipher(w->key, key, salt, w->m->salt_len);
}

static const uint8_t *user_key(const struct ss *w)
{
    return w->user != NULL ? w->user->key : w->key->key;
}

/* Sending ---------------------------------------------------------------------------------------- */

static void drop_out(struct ss *w)
{
    tg_buf_put(&w->base.reactor->pool, w->out);
    w->out = NULL;
}

/* Write what was kept.  @return 0, TG_AGAIN or a negative code: `lower` has failed */
static int try_flush(struct ss *w)
{
    while (w->out != NULL) {
        ssize_t n = tg_stream_write(w->base.lower, w->out->data + w->out->start, tg_buf_len(w->out));
        if (n < 0)
            return (int)n;
        w->out->start += (uint32_t)n;
        if (tg_buf_len(w->out) == 0)
            drop_out(w);
    }
    return 0;
}

/* For who writes: a failure is the stream's.  Others leave it to be found by who writes next. */
static int flush(struct ss *w)
{
    int code = try_flush(w);
    return code == 0 || code == TG_AGAIN ? code : lower_failed(w);
}

/* Encrypt and count.  `out` has room for the parts and a tag.  @return behind what was put */
static uint8_t *seal(struct ss *w, const struct iovec *parts, int count, uint8_t *out)
{
    size_t len = 0;
    for (int i = 0; i < count; i++) {
        if (w->seal == NULL && parts[i].iov_len > 0)
            memcpy(out + len, parts[i].iov_base, parts[i].iov_len);
        len += parts[i].iov_len;
    }
    if (w->seal == NULL)
        return out + len;
    tg_aead_seal(w->seal, w->nonce_out, parts, count, out);
    tg_nonce_next(w->nonce_out, tg_aead_nonce_size(w->m->aead));
    return out + len + TG_AEAD_TAG;
}

static uint8_t *seal_one(struct ss *w, const void *data, size_t len, uint8_t *out)
{
    struct iovec part = { .iov_base = (void *)data, .iov_len = len };
    return seal(w, &part, 1, out);
}

static uint8_t *put_chunk(struct ss *w, const struct iovec *parts, int count, size_t len, uint8_t *out)
{
    uint8_t head[2];
    tg_put_u16(head, (unsigned)len);
    out = seal_one(w, head, sizeof(head), out);
    return seal(w, parts, count, out);
}

static uint8_t *put_salt(struct ss *w, uint8_t *out)
{
    tg_ss_salt(w->key, out);
    if (w->client)
        memcpy(w->request, out, w->m->salt_len);
    if (w->m->kind == TG_SS_STREAM)
        w->encrypt = legacy(w, out, true);
    else if (w->m->kind == TG_SS_AEAD || w->m->kind == TG_SS_2022)
        w->seal = cipher_for(w, user_key(w), out);
    w->begun = true;
    return out + w->m->salt_len;
}

static uint8_t *put_identities(struct ss *w, uint8_t *out)
{
    struct tg_ss_key *k = w->key;
    for (unsigned i = 0; i < k->identities; i++) {
        uint8_t key[TG_AEAD_KEY_MAX];
        tg_ss_identity_key(k, k->identity_key[i], w->request, key);
        tg_ss_block(k, true, key, k->identity[i], out);
        OPENSSL_cleanse(key, sizeof(key));
        out += TG_SS_IDENTITY;
    }
    return out;
}

/* The request of 2022, with the first bytes or with padding. */
static uint8_t *put_request(struct ss *w, const struct iovec *parts, int count, size_t len, uint8_t *out)
{
    uint8_t fixed[FIXED], padding[2 + PAD_MAX] = { 0 };
    struct iovec all[PARTS_MAX + 2];
    unsigned pad = 0;
    if (len == 0) {
        tg_ss_random(&pad, sizeof(pad));
        pad = 1 + pad % PAD_MAX;
        tg_ss_random(padding + 2, pad);
    }
    tg_put_u16(padding, pad);
    out = put_identities(w, put_salt(w, out));
    fixed[0] = REQUEST;
    tg_put_u64(fixed + 1, tg_ss_time());
    tg_put_u16(fixed + 9, (unsigned)(w->address_len + 2 + pad + len));
    out = seal_one(w, fixed, sizeof(fixed), out);
    all[0] = (struct iovec){ w->address, w->address_len };
    all[1] = (struct iovec){ padding, 2 + pad };
    memcpy(all + 2, parts, (size_t)count * sizeof(*parts));
    return seal(w, all, count + 2, out);
}

/* The first bytes of this side: salt, headers, address, and what the user writes. */
static uint8_t *put_first(struct ss *w, const struct iovec *parts, int count, size_t len, uint8_t *out)
{
    if (w->m->kind == TG_SS_2022 && w->client)
        return put_request(w, parts, count, len, out);
    out = put_salt(w, out);
    if (w->m->kind == TG_SS_2022) {
        uint8_t fixed[FIXED + TG_SS_SALT_MAX];
        fixed[0] = RESPONSE;
        tg_put_u64(fixed + 1, tg_ss_time());
        memcpy(fixed + 9, w->request, w->m->salt_len);
        tg_put_u16(fixed + 9 + w->m->salt_len, (unsigned)len);
        out = seal_one(w, fixed, FIXED + w->m->salt_len, out);
        return seal(w, parts, count, out);
    }
    struct iovec all[PARTS_MAX + 1];
    all[0] = (struct iovec){ w->address, w->address_len };
    memcpy(all + 1, parts, (size_t)count * sizeof(*parts));
    return put_chunk(w, all, count + 1, w->address_len + len, out);
}

/* The same without chunks; nothing but these bytes is put. */
static uint8_t *put_unframed(struct ss *w, const struct iovec *parts, int count, uint8_t *out)
{
    uint8_t *from;
    if (!w->begun)
        out = put_salt(w, out);
    from = out;
    if (w->address != NULL) {
        memcpy(out, w->address, w->address_len);
        out += w->address_len;
    }
    for (int i = 0; i < count; i++) {
        memcpy(out, parts[i].iov_base, parts[i].iov_len);
        out += parts[i].iov_len;
    }
    int n = (int)(out - from);
    if (w->encrypt != NULL && n > 0 && EVP_CipherUpdate(w->encrypt, from, &n, from, n) != 1)
        abort();
    return out;
}

static void forget_address(struct ss *w)
{
    free(w->address);
    w->address = NULL;
    w->address_len = 0;
    w->hold = 0;
}

/* How much goes into each of the chunks that `left` bytes need: about the same. */
static size_t chunk_size(const struct ss *w, size_t left)
{
    size_t most = w->m->kind == TG_SS_2022 ? LENGTH_2022 : LENGTH_MAX;
    size_t chunks = (left + most - 1) / most;
    return chunks > 1 ? (left + chunks - 1) / chunks : left;
}

/* What has no salt before it yet goes into one chunk, with the address. */
static size_t put_some(struct ss *w, const struct iovec *parts, int count, size_t len, uint8_t **at)
{
    if (!has_chunks(w))
        *at = put_unframed(w, parts, count, *at);
    else if (!w->begun)
        *at = put_first(w, parts, count, len, *at);
    else
        *at = put_chunk(w, parts, count, len, *at);
    if (w->address != NULL)
        forget_address(w);
    return len;
}

/* Encrypt what fits into a buffer, which becomes `out`.  @return how many of the `left` bytes */
static size_t pack(struct ss *w, const struct iovec *given, int count, size_t left)
{
    struct iovec iov[PARTS_MAX], parts[PARTS_MAX];
    const size_t around = 2 + 2 * TG_AEAD_TAG;
    size_t head = w->begun ? 0 : HEAD_MAX, taken = 0;
    size_t most = OUTPUT - head - (OUTPUT / LENGTH_MAX + 2) * around;
    left = left < most ? left : most;
    w->out = tg_buf_get(&w->base.reactor->pool, head + left + (left / LENGTH_MAX + 2) * around);
    if (w->out == NULL)
        abort(); /* OUTPUT bytes at most */
    uint8_t *at = w->out->data;
    count = tg_iov_skip(iov, given, count, 0);
    if (head > 0) {
        size_t first = has_chunks(w) && left > LENGTH_MAX - TG_SOCKS_ADDRESS_MAX
                       ? LENGTH_MAX - TG_SOCKS_ADDRESS_MAX : left;
        taken = put_some(w, parts, tg_iov_head(parts, iov, count, first), first, &at);
        count = tg_iov_skip(iov, iov, count, first);
    }
    size_t size = has_chunks(w) ? chunk_size(w, left - taken) : left;
    while (taken < left) {
        size_t len = left - taken < size ? left - taken : size;
        taken += put_some(w, parts, tg_iov_head(parts, iov, count, len), len, &at);
        count = tg_iov_skip(iov, iov, count, len);
    }
    w->out->end = (uint32_t)(at - w->out->data);
    assert(w->out->end <= w->out->cap);
    return taken;
}

static void want_lower(struct ss *w)
{
    unsigned events = w->base.state == TG_STREAM_OPEN ? w->base.wanted : 0;
    if (w->out != NULL && w->base.state == TG_STREAM_OPEN)
        events |= TG_WRITABLE;
    tg_stream_want(w->base.lower, events);
}

static ssize_t ss_writev(struct tg_stream *s, const struct iovec *given, int count)
{
    struct ss *w = ss_of(s);
    struct iovec iov[PARTS_MAX];
    int code = flush(w);
    if (code != 0)
        return code;
    count = tg_iov_skip(iov, given, count < PARTS_MAX ? count : PARTS_MAX, 0);
    size_t left = tg_iov_total(iov, count);
    size_t paid = w->owed < left ? w->owed : left;
    w->owed -= paid;
    count = tg_iov_skip(iov, iov, count, paid);
    left -= paid;
    if (left == 0)
        return (ssize_t)paid;
    while (left > 0) {
        size_t n = pack(w, iov, count, left);
        code = flush(w);
        if (code != 0) {
            w->owed = n;
            break;
        }
        paid += n;
        left -= n;
        count = tg_iov_skip(iov, iov, count, n);
    }
    if (w->out != NULL)
        want_lower(w);
    return paid > 0 ? (ssize_t)paid : code;
}

/* A client's request that nothing is written behind yet. */
static void send_request(struct ss *w)
{
    if (w->address != NULL && w->out == NULL)
        pack(w, NULL, 0, 0);
}

static int ss_shutdown(struct tg_stream *s)
{
    struct ss *w = ss_of(s);
    int code = flush(w);
    if (code == 0) {
        send_request(w);
        code = flush(w);
    }
    if (code != 0)
        return code;
    code = tg_stream_shutdown(s->lower);
    return code < 0 && code != TG_AGAIN ? lower_failed(w) : code;
}

/* Receiving -------------------------------------------------------------------------------------- */

static ssize_t spoil(struct ss *w, enum tg_code code, const char *why)
{
    w->broken = why;
    w->broken_code = code;
    return -1;
}

static ssize_t spoil_first(struct ss *w)
{
    return spoil(w, TG_AUTH, w->client
                 ? "cannot decrypt the answer: the server has another password or method"
                 : "cannot decrypt the request: the client has another password or method, or is none of ours");
}

/* Is so much there?  If not, it is what must be read. */
static bool have(struct ss *w, size_t n)
{
    w->wanted = (uint32_t)n;
    w->dry = w->in == NULL || tg_buf_len(w->in) < n;
    return !w->dry;
}

static uint8_t *front(struct ss *w)
{
    return w->in->data + w->in->start;
}

static void consume(struct ss *w, size_t n)
{
    w->in->start += (uint32_t)n;
    if (tg_buf_len(w->in) > 0)
        return;
    tg_buf_put(&w->base.reactor->pool, w->in);
    w->in = NULL;
}

/* Decrypt in[0..len) with its tag, and count. */
static bool unseal(struct ss *w, const uint8_t *in, size_t len, uint8_t *out)
{
    if (w->open == NULL) {
        if (out != in)
            memcpy(out, in, len);
        return true;
    }
    bool good = tg_aead_open(w->open, w->nonce_in, in, len, out);
    tg_nonce_next(w->nonce_in, tg_aead_nonce_size(w->m->aead));
    return good;
}

static bool is_replay(struct ss *w, const uint8_t *salt)
{
    return !w->client && !tg_replay_salt(w->key->replay, salt, w->m->salt_len, w->base.reactor->now);
}

static ssize_t spoil_replay(struct ss *w)
{
    return spoil(w, TG_AUTH, "this request has come before: a replay");
}

/* Whose key is it?  @return false: nobody's */
static bool take_identity(struct ss *w, const uint8_t *salt)
{
    uint8_t key[TG_AEAD_KEY_MAX], identity[TG_SS_IDENTITY];
    tg_ss_identity_key(w->key, w->key->key, salt, key);
    tg_ss_block(w->key, false, key, salt + w->m->salt_len, identity);
    OPENSSL_cleanse(key, sizeof(key));
    w->user = tg_ss_user_find(w->key, identity);
    return w->user != NULL;
}

/* Salt and header of 2022.  @return 0: go on, or < 0 */
static ssize_t take_header(struct ss *w)
{
    size_t salt_len = w->m->salt_len, identity = !w->client && w->key->user_count > 0 ? TG_SS_IDENTITY : 0;
    size_t fixed = FIXED + (w->client ? salt_len : 0);
    if (!have(w, salt_len + identity + fixed + TG_AEAD_TAG))
        return 0;
    uint8_t *salt = front(w), *head = salt + salt_len + identity;
    if (identity > 0 && !take_identity(w, salt))
        return spoil(w, TG_AUTH, "the client has the key of no user, or another key of the server");
    w->open = cipher_for(w, user_key(w), salt);
    if (!unseal(w, head, fixed, head))
        return spoil_first(w);
    if (head[0] != (w->client ? RESPONSE : REQUEST))
        return spoil(w, TG_AUTH, "a message of the wrong direction: somebody sends our own back");
    if (!tg_ss_timely(head + 1))
        return spoil(w, TG_AUTH, "the clocks of the two ends differ by more than 30 seconds");
    if (w->client && memcmp(head + 9, w->request, salt_len) != 0)
        return spoil(w, TG_AUTH, "the answer to another request");
    if (is_replay(w, salt))
        return spoil_replay(w);
    if (!w->client)
        memcpy(w->request, salt, salt_len);
    w->need = tg_u16(head + fixed - 2);
    w->stage = w->client ? PAYLOAD : REST;
    consume(w, salt_len + identity + fixed + TG_AEAD_TAG);
    return 0;
}

static ssize_t take_salt(struct ss *w)
{
    size_t len = w->m->salt_len;
    /* A salt is as good as what it decrypts: replays are known when the first chunk is. */
    size_t first = w->m->kind == TG_SS_AEAD ? 2 + TG_AEAD_TAG : 0;
    if (w->m->kind == TG_SS_2022)
        return take_header(w);
    if (!have(w, len + first))
        return 0;
    if (w->m->kind == TG_SS_STREAM)
        w->decrypt = legacy(w, front(w), false);
    if (w->m->kind == TG_SS_AEAD) {
        uint8_t *head = front(w) + len;
        w->open = cipher_for(w, w->key->key, front(w));
        if (!unseal(w, head, 2, head))
            return spoil_first(w);
        if (is_replay(w, front(w)))
            return spoil_replay(w);
        w->need = tg_u16(head);
        if (w->need > LENGTH_MAX)
            return spoil(w, TG_PROTOCOL, "a chunk is longer than 16383 bytes");
    }
    w->stage = first > 0 ? PAYLOAD : LENGTH;
    consume(w, len + first);
    return 0;
}

/* The rest of a request: leave address and first bytes next to each other. */
static ssize_t take_rest(struct ss *w)
{
    struct tg_target target;
    struct tg_error err;
    if (!have(w, w->need + TG_AEAD_TAG))
        return 0;
    uint8_t *at = front(w);
    if (!unseal(w, at, w->need, at))
        return spoil_first(w);
    ssize_t n = tg_socks_address_decode(at, w->need, &target, &err);
    if (n < 0 || w->need < (size_t)n + 2)
        return spoil(w, TG_PROTOCOL, "the request has no valid address");
    size_t pad = tg_u16(at + n), head = (size_t)n + 2 + pad;
    if (pad > PAD_MAX || head > w->need)
        return spoil(w, TG_PROTOCOL, "the request has no valid padding");
    /* Neither padding nor data is against SIP022, but one of 900 requests of gost is like that. */
    memmove(at + 2 + pad, at, (size_t)n);
    consume(w, 2 + pad);
    w->plain = w->need - (uint32_t)(2 + pad);
    w->behind = TG_AEAD_TAG;
    w->stage = LENGTH;
    return 0;
}

static ssize_t take_length(struct ss *w)
{
    size_t len = 2 + tag_of(w);
    if (!have(w, len))
        return 0;
    if (!unseal(w, front(w), 2, front(w)))
        return spoil(w, TG_PROTOCOL, "a forged or damaged chunk");
    w->need = tg_u16(front(w));
    if (w->m->kind != TG_SS_2022 && w->need > LENGTH_MAX)
        return spoil(w, TG_PROTOCOL, "a chunk is longer than 16383 bytes");
    consume(w, len);
    w->stage = PAYLOAD;
    return 0;
}

/* To where it goes if there is room, else in its place.  @return bytes delivered or < 0 */
static ssize_t take_payload(struct ss *w, uint8_t *buf, size_t room)
{
    size_t tag = tag_of(w);
    if (!have(w, w->need + tag))
        return 0;
    bool direct = room >= w->need;
    if (!unseal(w, front(w), w->need, direct ? buf : front(w)))
        return spoil(w, TG_PROTOCOL, "a forged or damaged chunk");
    w->stage = LENGTH;
    if (direct) {
        if (w->need + tag > 0)
            consume(w, w->need + tag);
        return (ssize_t)w->need;
    }
    w->plain = w->need;
    w->behind = (uint32_t)tag;
    return 0;
}

static size_t take_plain(struct ss *w, uint8_t *buf, size_t room)
{
    size_t n = w->plain < room ? w->plain : room;
    memcpy(buf, front(w), n);
    w->plain -= (uint32_t)n;
    size_t behind = w->plain == 0 ? w->behind : 0;
    consume(w, n + behind);
    return n;
}

/* One step with what is there.  @return bytes delivered, 0 (see `dry`) or < 0: broken */
static ssize_t take(struct ss *w, uint8_t *buf, size_t room)
{
    if (w->plain > 0)
        return (ssize_t)take_plain(w, buf, room);
    switch ((enum stage)w->stage) {
    case SALT:
        return take_salt(w);
    case REST:
        return take_rest(w);
    case LENGTH:
        return take_length(w);
    case PAYLOAD:
        break;
    }
    return take_payload(w, buf, room);
}

/* Read into `in`, where there is room for what is wanted.  @return as read() */
static ssize_t fill(struct ss *w)
{
    struct tg_pool *pool = &w->base.reactor->pool;
    size_t size = w->busy ? INPUT_BUSY : INPUT_FIRST;
    size = w->wanted > size ? w->wanted : size;
    if (w->in == NULL)
        w->in = tg_buf_get(pool, INPUT_FIRST);
    if (!tg_buf_reserve(pool, &w->in, size - tg_buf_len(w->in)))
        return tg_stream_break(&w->base, "read", TG_BUSY, "out of memory");
    size_t room = tg_buf_room(w->in);
    ssize_t n = tg_stream_read(w->base.lower, w->in->data + w->in->end, room);
    if (n > 0)
        w->in->end += (uint32_t)n;
    else
        consume(w, 0); /* back to the pool if it is empty */
    w->busy = (size_t)n == room || (w->busy && n >= (ssize_t)INPUT_FIRST);
    return n;
}

/* Little that waits for long needs no large buffer. */
static void shrink(struct ss *w)
{
    struct tg_pool *pool = &w->base.reactor->pool;
    if (w->in == NULL || w->in->cap <= TG_BUF_SMALL || tg_buf_len(w->in) > IDLE_INPUT)
        return;
    struct tg_buf *small = tg_buf_get(pool, TG_BUF_SMALL);
    small->end = (uint32_t)tg_buf_len(w->in);
    memcpy(small->data, front(w), small->end);
    tg_buf_put(pool, w->in);
    w->in = small;
}

/* Nothing more comes for now, or ever.  @return what read() answers */
static ssize_t nothing_read(struct ss *w, ssize_t n)
{
    if (n == TG_AGAIN) {
        shrink(w);
        return TG_AGAIN;
    }
    if (n < 0)
        return lower_failed(w);
    if (w->in == NULL && w->stage != PAYLOAD && w->stage != REST)
        return 0;
    return tg_stream_break(&w->base, "read", TG_EOF, w->stage == SALT
                           ? "the peer closed the connection inside of its first bytes"
                           : "the peer closed the connection inside of a chunk");
}

static ssize_t read_chunks(struct ss *w, uint8_t *buf, size_t len)
{
    size_t got = 0;
    for (int reads = 0; got < len && w->broken == NULL;) {
        ssize_t n = take(w, buf + got, len - got);
        if (n > 0)
            got += (size_t)n;
        if (n != 0 || !w->dry)
            continue;
        if (reads++ == READS_MAX)
            break;
        n = fill(w);
        if (n > 0)
            continue;
        if (got > 0 && n != TG_AGAIN)
            break; /* said again next time */
        n = nothing_read(w, n);
        return got > 0 ? (ssize_t)got : n;
    }
    if (got > 0)
        return (ssize_t)got;
    if (w->broken != NULL)
        return tg_stream_break(&w->base, "read", w->broken_code, w->broken);
    return TG_AGAIN; /* `lower` is ready still: asked again next turn */
}

static ssize_t read_unframed(struct ss *w, uint8_t *buf, size_t len)
{
    while (w->stage == SALT) {
        take_salt(w);
        if (!w->dry)
            break;
        ssize_t n = fill(w);
        if (n <= 0)
            return nothing_read(w, n);
    }
    size_t got = 0;
    ssize_t n = 0;
    if (w->in != NULL) { /* came with the salt */
        got = tg_buf_len(w->in) < len ? tg_buf_len(w->in) : len;
        memcpy(buf, front(w), got);
        consume(w, got);
    } else {
        n = tg_stream_read(w->base.lower, buf, len);
        if (n <= 0)
            return n == 0 || n == TG_AGAIN ? n : lower_failed(w);
        got = (size_t)n;
    }
    int same = (int)got;
    w->dry = w->in == NULL;
    if (w->decrypt != NULL && EVP_CipherUpdate(w->decrypt, buf, &same, buf, same) != 1)
        abort();
    return (ssize_t)got;
}

static ssize_t ss_read(struct tg_stream *s, void *buf, size_t len)
{
    struct ss *w = ss_of(s);
    if (len == 0)
        return TG_AGAIN;
    return has_chunks(w) ? read_chunks(w, buf, len) : read_unframed(w, buf, len);
}

/* Readiness -------------------------------------------------------------------------------------- */

/* Is there something to read that `lower` does not announce? */
static bool has_input(const struct ss *w)
{
    const struct tg_stream *lower = w->base.lower;
    return w->broken != NULL || w->plain > 0 || (w->in != NULL && !w->dry) ||
           lower->ahead != NULL || lower->eof;
}

static unsigned unannounced(const struct ss *w)
{
    if (w->base.state == TG_STREAM_FAILED || w->base.lower->state == TG_STREAM_FAILED)
        return w->base.wanted;
    return has_input(w) ? w->base.wanted & TG_READABLE : 0;
}

static void on_defer(void *arg)
{
    struct ss *w = arg;
    if (w->hold > 0 && --w->hold == 0 && w->base.state == TG_STREAM_OPEN) {
        send_request(w);
        try_flush(w);
        want_lower(w);
    }
    unsigned report = unannounced(w);
    if (w->hold > 0 || report != 0)
        tg_defer(w->base.reactor, &w->defer); /* level-triggered: again next turn */
    if (report != 0)
        tg_stream_ready(&w->base, report); /* last: `w` may be gone now */
}

static void ss_want(struct tg_stream *s, unsigned events)
{
    struct ss *w = ss_of(s);
    if (events != 0 && unannounced(w) != 0)
        tg_defer(s->reactor, &w->defer);
    want_lower(w);
}

static void on_lower(void *arg, unsigned events)
{
    struct ss *w = arg;
    unsigned wanted = w->base.wanted, report = events & (wanted | TG_HANGUP);
    if ((events & TG_WRITABLE) && try_flush(w) == TG_AGAIN)
        report &= ~TG_WRITABLE;
    if (w->base.state == TG_STREAM_FAILED || w->base.lower->state == TG_STREAM_FAILED)
        report |= wanted;
    want_lower(w);
    if (report & wanted)
        tg_stream_ready(&w->base, report); /* last: `w` may be gone now */
}

static void let_go(struct ss *w)
{
    struct tg_stream *s = &w->base;
    tg_defer_cancel(s->reactor, &w->defer);
    tg_buf_put(&s->reactor->pool, w->in);
    tg_buf_put(&s->reactor->pool, w->out);
    tg_ss_cipher_put(w->key, w->open);
    tg_ss_cipher_put(w->key, w->seal);
    EVP_CIPHER_CTX_free(w->decrypt);
    EVP_CIPHER_CTX_free(w->encrypt);
    free(w->address);
    tg_ss_key_drop(w->key);
    free(w);
}

static void ss_close(struct tg_stream *s)
{
    struct ss *w = ss_of(s);
    if (s->state == TG_STREAM_OPEN)
        try_flush(w);
    tg_stream_close(s->lower);
    let_go(w);
}

static const struct tg_stream_ops ss_ops = {
    .name = "shadowsocks",
    .read = ss_read,
    .writev = ss_writev,
    .shutdown = ss_shutdown,
    .want = ss_want,
    .close = ss_close,
};

static struct ss *start(struct tg_stream *lower, struct tg_ss_key *key)
{
    struct ss *w = tg_zalloc(sizeof(*w));
    w->base.ops = &ss_ops;
    w->base.lower = lower;
    w->base.reactor = lower->reactor;
    w->base.state = TG_STREAM_OPEN;
    w->base.half_close = lower->half_close;
    w->key = tg_ss_key_hold(key);
    w->m = key->method;
    w->dry = true;
    w->defer = (struct tg_defer){ .cb = on_defer, .arg = w };
    if (w->m->kind == TG_SS_PLAIN)
        w->stage = LENGTH;
    lower->on_ready = on_lower;
    lower->ready_arg = w;
    return w;
}

struct tg_stream *tg_ss_client(struct tg_stream *lower, struct tg_ss_key *key, const struct tg_target *target)
{
    struct ss *w = start(lower, key);
    uint8_t address[TG_SOCKS_ADDRESS_MAX];
    ssize_t n = tg_socks_address_encode(target, TG_EMPTY_AS_IPV4, address, sizeof(address));
    assert(n > 0);
    w->client = true;
    w->address = tg_zalloc((size_t)n);
    memcpy(w->address, address, (size_t)n);
    w->address_len = (uint16_t)n;
    w->hold = HOLD_TURNS;
    tg_defer(lower->reactor, &w->defer);
    return &w->base;
}

struct tg_stream *tg_ss_server(struct tg_stream *lower, struct tg_ss_key *key)
{
    return &start(lower, key)->base;
}

bool tg_ss_is(const struct tg_stream *s)
{
    return s->ops == &ss_ops;
}

const char *tg_ss_user(const struct tg_stream *s)
{
    const struct ss *w = (const struct ss *)s;
    assert(tg_ss_is(s));
    return w->user != NULL ? w->user->name : NULL;
}

struct tg_stream *tg_ss_strip(struct tg_stream *s)
{
    struct tg_stream *lower = s->lower;
    assert(tg_ss_is(s) && !tg_stream_is_metered(s));
    tg_buf_put(&s->reactor->pool, s->ahead);
    struct tg_hold *holds = tg_stream_take_holds(s);
    if (holds != NULL)
        tg_hold_release(&holds);
    free(s->extras);
    lower->on_ready = NULL;
    tg_stream_want(lower, 0);
    let_go(ss_of(s));
    return lower;
}
