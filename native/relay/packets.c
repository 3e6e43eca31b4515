#include "relay/packets.h"

#include "base/hash.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define READS_PER_TURN 4 /* batches, before the others have their turn */

/* A datagram that waits for a decision. */
struct waiting {
    struct waiting *next;
    bool up;
    uint32_t len;
    struct tg_peer peer; /* a name points into the known address */
    uint8_t space[];     /* headroom, then the datagram */
};

/* A datagram that waits for tokens, which are paid for. */
struct delayed {
    struct delayed *next;
    uint64_t due; /* ms */
    uint32_t len;
    struct tg_peer peer; /* a name follows the datagram */
    uint8_t space[];     /* headroom, then the datagram */
};

struct queue {
    struct delayed *first, **tail;
    unsigned count;
};

enum verdict {
    ASKED,
    GOOD,
    BAD,
};

/* What was decided about an address. */
struct known {
    uint64_t hash;
    uint64_t until; /* ms, when not ASKED */
    enum verdict verdict;
    unsigned count; /* waiting */
    struct waiting *waiting, **tail;
    struct tg_peer to; /* an IP address, or nothing: as it is */
    size_t len;
    char address[TG_PEER_TEXT];
};

struct tg_packets {
    struct tg_packets *next, **link;
    struct tg_packets_list *list;
    struct tg_reactor *r;
    struct tg_packet *a, *b;
    struct tg_packets_options o;
    struct tg_gauge gauge;
    struct queue delayed[2]; /* by enum tg_way */
    struct tg_timer tokens;  /* runs while datagrams are delayed */
    struct tg_timer idle;
    struct tg_defer ending;
    uint64_t started, moved; /* ms */
    uint32_t replies;
    bool over;
    struct tg_relay_result result;
    struct tg_hash_key key;
    unsigned known_count, known_next; /* next to be replaced */
    struct known **known;                 /* NULL: nothing was asked yet */
};

/* Later in this turn: an endpoint may be in the middle of a call to us. */
static void end(struct tg_packets *p, const struct tg_error *err, bool from_b)
{
    if (p->over)
        return;
    p->over = true;
    if (err != NULL)
        p->result.error = *err;
    p->result.from_b = from_b;
    p->a->sink = NULL;
    tg_packet_want(p->a, false);
    tg_packet_want(p->b, false);
    tg_timer_stop(p->r, &p->tokens);
    tg_defer(p->r, &p->ending);
}

static void end_with(struct tg_packets *p, struct tg_packet *side, int code)
{
    struct tg_error err = side->error;
    if (err.code == TG_OK)
        tg_error_put(&err, side->ops->name, "relay", code, NULL);
    end(p, code == TG_EOF ? NULL : &err, side == p->b);
}

/* ---- decisions ---- */

static void free_known(struct known *k)
{
    while (k->waiting != NULL) {
        struct waiting *w = k->waiting;
        k->waiting = w->next;
        free(w);
    }
    free(k);
}

static struct known *find_known(struct tg_packets *p, uint64_t hash, const char *text, size_t len)
{
    for (unsigned i = 0; i < p->known_count; i++) {
        struct known *k = p->known[i];
        if (k->hash == hash && k->len == len && memcmp(k->address, text, len) == 0)
            return k;
    }
    return NULL;
}

static struct known *add_known(struct tg_packets *p, uint64_t hash, const char *text, size_t len)
{
    struct known **slot;
    if (p->known == NULL)
        p->known = tg_zalloc(TG_PACKETS_KNOWN * sizeof(*p->known));
    if (p->known_count < TG_PACKETS_KNOWN) {
        slot = &p->known[p->known_count++];
    } else {
        slot = &p->known[p->known_next++ % TG_PACKETS_KNOWN];
        free_known(*slot);
    }
    struct known *k = *slot = tg_zalloc(sizeof(*k));
    k->hash = hash;
    k->len = len;
    k->tail = &k->waiting;
    memcpy(k->address, text, len);
    return k;
}

static void wait_for(struct known *k, const struct tg_datagram *d, bool up)
{
    if (k->count >= TG_PACKETS_WAITING)
        return;
    struct waiting *w = malloc(sizeof(*w) + TG_PACKET_HEADROOM + d->len);
    if (w == NULL)
        return;
    w->next = NULL;
    w->up = up;
    w->len = d->len;
    w->peer = d->peer;
    w->peer.name = k->address;
    memcpy(w->space + TG_PACKET_HEADROOM, d->data, d->len);
    *k->tail = w;
    k->tail = &w->next;
    k->count++;
}

static bool must_ask(const struct tg_packets *p, const struct tg_peer *peer, bool up)
{
    if (tg_peer_is_none(peer))
        return false;
    if (tg_peer_is_name(peer) && up && (!p->b->takes_names || p->o.ask_names))
        return true;
    return p->o.ask_all;
}

/* @return whether the datagram can go on, readdressed perhaps */
static bool decide(struct tg_packets *p, struct tg_datagram *d, bool up)
{
    if (!must_ask(p, &d->peer, up))
        return true;
    if (p->o.ask == NULL)
        return false;
    char text[TG_PEER_TEXT];
    size_t len = tg_peer_format(&d->peer, text, sizeof(text));
    uint64_t hash = tg_hash(&p->key, text, len);
    struct known *k = find_known(p, hash, text, len);
    bool fresh = k == NULL;
    if (fresh)
        k = add_known(p, hash, text, len);
    else if (k->verdict != ASKED && p->r->now >= k->until)
        fresh = true;
    if (fresh || k->verdict == ASKED) {
        k->verdict = ASKED;
        wait_for(k, d, up);
        if (fresh)
            p->o.ask(p->o.arg, k->address, len);
        return false;
    }
    if (k->verdict == GOOD && up && !tg_peer_is_none(&k->to))
        d->peer = k->to;
    return k->verdict == GOOD;
}

/* ---- moving ---- */

static void end_used_up(struct tg_packets *p)
{
    struct tg_error err;
    tg_error_put(&err, "relay", "relay", TG_LIMIT, "quota: traffic limit reached");
    end(p, &err, false);
}

static void start_tokens(struct tg_packets *p)
{
    uint64_t at = UINT64_MAX;
    for (int w = 0; w < 2; w++)
        if (p->delayed[w].first != NULL && p->delayed[w].first->due < at)
            at = p->delayed[w].first->due;
    if (at != UINT64_MAX)
        tg_timer_start(p->r, &p->tokens, at > p->r->now ? at - p->r->now : 0);
}

static void delay(struct tg_packets *p, const struct tg_datagram *d, enum tg_way w, uint64_t ms)
{
    struct queue *q = &p->delayed[w];
    struct delayed *one = malloc(sizeof(*one) + TG_PACKET_HEADROOM + d->len + d->peer.name_len);
    if (one == NULL) {
        p->result.dropped++;
        return;
    }
    *one = (struct delayed){ .due = p->r->now + ms, .len = d->len, .peer = d->peer };
    uint8_t *data = one->space + TG_PACKET_HEADROOM;
    memcpy(data, d->data, d->len);
    if (d->peer.name_len > 0)
        memcpy(data + d->len, d->peer.name, d->peer.name_len);
    one->peer.name = (const char *)data + d->len;
    if (q->first == NULL)
        q->tail = &q->first;
    *q->tail = one;
    q->tail = &one->next;
    if (q->count++ == 0) {
        tg_packet_want(w == TG_IN ? p->a : p->b, false);
        start_tokens(p);
    }
}

/* @return whether the datagram may go on now */
static bool pay(struct tg_packets *p, const struct tg_datagram *d, enum tg_way w)
{
    if (p->delayed[w].count >= TG_PACKETS_DELAYED) {
        p->result.dropped++;
        return false;
    }
    int64_t ms = tg_gauge_charge(&p->gauge, w, d->len, p->r->now);
    if (ms == TG_BLOCKED)
        end_used_up(p);
    if (ms < 0) {
        p->result.dropped++;
        return false;
    }
    if (ms == 0 && p->delayed[w].first == NULL)
        return true;
    delay(p, d, w, (uint64_t)ms);
    return false;
}

static void pass(struct tg_packets *p, struct tg_datagram *in, int n, uint64_t bytes, bool up)
{
    *(up ? &p->result.up : &p->result.down) += bytes;
    tg_gauge_count(&p->gauge, up ? TG_IN : TG_OUT, bytes);
    struct tg_packet *to = up ? p->b : p->a;
    for (int i = 0; i < n && p->o.tap != NULL; i++) /* before an endpoint writes over it */
        p->o.tap(p->o.arg, &in[i], up);
    int code = tg_packet_send(to, in, n);
    if (code < 0)
        end_with(p, to, code);
    else if (!up && p->o.replies > 0 && (p->replies += (uint32_t)n) >= p->o.replies)
        end(p, NULL, false);
}

static void forward(struct tg_packets *p, struct tg_datagram *in, int count, bool up)
{
    bool metered = p->gauge.count > 0;
    bool free_way = p->o.ask == NULL && !metered &&
                    (!up || p->b->takes_names || !p->b->any_peer);
    uint64_t bytes = 0;
    int n = 0;
    p->moved = p->r->now;
    for (int i = 0; i < count && !p->over; i++) {
        if (!free_way &&
            (!decide(p, &in[i], up) || (metered && !pay(p, &in[i], up ? TG_IN : TG_OUT))))
            continue;
        bytes += in[i].len;
        if (n != i)
            in[n] = in[i];
        n++;
    }
    if (n > 0)
        pass(p, in, n, bytes, up);
}

static void pass_delayed(struct tg_packets *p, enum tg_way w)
{
    struct queue *q = &p->delayed[w];
    while (q->first != NULL && q->first->due <= p->r->now && !p->over) {
        struct delayed *one = q->first;
        struct tg_datagram d = {
            .data = one->space + TG_PACKET_HEADROOM,
            .len = one->len,
            .headroom = TG_PACKET_HEADROOM,
            .peer = one->peer,
        };
        q->first = one->next;
        q->count--;
        pass(p, &d, 1, one->len, w == TG_IN);
        free(one);
    }
}

static void on_tokens(void *arg)
{
    struct tg_packets *p = arg;
    for (enum tg_way w = TG_IN; w <= TG_OUT; w++) {
        bool waited = p->delayed[w].first != NULL;
        pass_delayed(p, w);
        if (waited && p->delayed[w].first == NULL && !p->over)
            tg_packet_want(w == TG_IN ? p->a : p->b, true);
    }
    if (!p->over)
        start_tokens(p);
}

static void free_delayed(struct queue *q)
{
    while (q->first != NULL) {
        struct delayed *one = q->first;
        q->first = one->next;
        free(one);
    }
}

static void pump(struct tg_packets *p, bool up)
{
    struct tg_packet *from = up ? p->a : p->b;
    struct tg_datagram in[TG_PACKET_BATCH];
    const struct queue *delayed = &p->delayed[up ? TG_IN : TG_OUT];
    for (int turn = 0; turn < READS_PER_TURN && !p->over && delayed->first == NULL; turn++) {
        int n = tg_packet_recv(from, in, TG_PACKET_BATCH);
        if (n == TG_AGAIN)
            return;
        if (n <= 0) {
            end_with(p, from, n);
            return;
        }
        forward(p, in, n, up);
    }
}

static void on_a(void *arg, unsigned events)
{
    (void)events;
    pump(arg, true);
}

static void on_b(void *arg, unsigned events)
{
    (void)events;
    pump(arg, false);
}

static void on_sink(void *arg, struct tg_datagram *in, int count)
{
    struct tg_packets *p = arg;
    if (!p->over)
        forward(p, in, count, true);
}

void tg_packets_answer(struct tg_packets *p, const char *address, size_t len,
                       const struct tg_peer *to)
{
    struct known *k = find_known(p, tg_hash(&p->key, address, len), address, len);
    if (k == NULL || k->verdict != ASKED || p->over)
        return;
    k->verdict = to != NULL ? GOOD : BAD;
    k->until = p->r->now + TG_PACKETS_REMEMBER_MS;
    memset(&k->to, 0, sizeof(k->to));
    if (to != NULL && !tg_peer_is_name(to))
        k->to = *to;
    struct waiting *list = k->waiting;
    k->waiting = NULL;
    k->tail = &k->waiting;
    k->count = 0;
    while (list != NULL) {
        struct waiting *w = list;
        list = w->next;
        struct tg_datagram d = {
            .data = w->space + TG_PACKET_HEADROOM,
            .len = w->len,
            .headroom = TG_PACKET_HEADROOM,
            .peer = w->peer,
        };
        if (!p->over)
            forward(p, &d, 1, w->up);
        free(w);
    }
}

/* ---- begin and end ---- */

static void on_idle(void *arg)
{
    struct tg_packets *p = arg;
    uint64_t silent = p->r->now - p->moved;
    if (silent < p->o.idle)
        tg_timer_start(p->r, &p->idle, p->o.idle - silent);
    else
        end(p, NULL, false);
}

static void on_ending(void *arg)
{
    struct tg_packets *p = arg;
    tg_timer_stop(p->r, &p->idle);
    tg_timer_stop(p->r, &p->tokens);
    free_delayed(&p->delayed[TG_IN]);
    free_delayed(&p->delayed[TG_OUT]);
    *p->link = p->next;
    if (p->next != NULL)
        p->next->link = p->link;
    p->list->count--;
    tg_packet_close(p->a);
    tg_packet_close(p->b);
    for (unsigned i = 0; i < p->known_count; i++)
        free_known(p->known[i]);
    free(p->known);
    p->result.duration = p->r->now - p->started;
    if (p->o.done != NULL)
        p->o.done(p->o.arg, &p->result);
    tg_gauge_close(&p->gauge);
    free(p);
}

struct tg_packets *tg_packets_start(struct tg_packets_list *list, struct tg_packet *a,
                                    struct tg_packet *b, const struct tg_packets_options *options)
{
    struct tg_packets *p = tg_zalloc(sizeof(*p));
    struct tg_reactor *r = a->reactor;
    p->list = list;
    p->r = r;
    p->a = a;
    p->b = b;
    p->o = *options;
    p->started = p->moved = r->now;
    p->idle = (struct tg_timer){ .cb = on_idle, .arg = p };
    p->tokens = (struct tg_timer){ .cb = on_tokens, .arg = p };
    for (unsigned i = 0; i < options->meter_count; i++)
        tg_gauge_add(&p->gauge, options->meters[i]);
    p->ending = (struct tg_defer){ .cb = on_ending, .arg = p };
    p->next = list->first;
    if (p->next != NULL)
        p->next->link = &p->next;
    p->link = &list->first;
    list->first = p;
    list->count++;
    if (p->o.ask != NULL)
        tg_hash_key_make(&p->key);
    a->on_ready = on_a;
    b->on_ready = on_b;
    a->ready_arg = b->ready_arg = p;
    pump(p, true); /* what came while the way was sought */
    if (p->over)
        return p;
    a->sink_arg = p;
    a->sink = a->pushes ? on_sink : NULL;
    tg_packet_want(a, p->delayed[TG_IN].first == NULL);
    tg_packet_want(b, true);
    if (p->o.idle > 0)
        tg_timer_start(r, &p->idle, p->o.idle);
    return p;
}

void tg_packets_cut(struct tg_packets *p, enum tg_code code, const char *detail)
{
    struct tg_error err;
    tg_error_put(&err, "relay", "relay", code, detail);
    end(p, &err, false);
}

struct tg_packets *tg_packets_next(const struct tg_packets *p)
{
    return p->next;
}

void *tg_packets_arg(const struct tg_packets *p)
{
    return p->o.arg;
}

void tg_packets_peek(const struct tg_packets *p, struct tg_relay_result *out)
{
    *out = (struct tg_relay_result){
        .up = p->result.up,
        .down = p->result.down,
        .duration = p->r->now - p->started,
    };
}
