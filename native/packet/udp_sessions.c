#include "packet/udp_sessions.h"

#include "base/hash.h"
#include "base/mem.h"
#include "packet/udp.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define READS_PER_TURN 4          /* batches, before the others have their turn */
#define BUCKETS_FIRST 64u
#define QUEUED_MOST (16u << 20)   /* bytes, in the queues of all sessions of a table */
#define LISTENER_BUFFER (4 << 20) /* bytes in the kernel */

struct queued {
    struct queued *next;
    uint32_t len;
    uint8_t space[]; /* headroom, then the datagram */
};

struct session {
    struct tg_packet base;      /* first: a struct session is a struct tg_packet */
    struct tg_udp_sessions *t;  /* NULL: ended */
    struct session *chain;      /* of its bucket */
    struct session *next, **link; /* of t->live, t->answered */
    struct session *next_new, **link_new; /* of t->newcomers */
    struct tg_defer notice;
    struct queued *queue, **tail, *given;
    uint32_t queued;
    int16_t first, last; /* its datagrams in the batch at hand; -1: none */
    bool hashed, accepted, wants;
    bool answered;      /* no question since */
    bool with_answered; /* on t->answered, where the next sweep finds out */
    bool touched;
    struct tg_peer peer;
};

struct tg_udp_sessions {
    struct tg_reactor *r;
    struct tg_watch watch;   /* of the socket */
    struct tg_packet *lower; /* instead of a socket; NULL: there is one */
    struct tg_udp_sessions_options o;
    tg_udp_session_cb on_session;
    tg_udp_sessions_end_cb on_end;
    void *arg;
    struct tg_hash_key key;
    struct session **buckets;
    uint32_t mask, count;
    uint32_t unaccepted;
    size_t queued_bytes;
    struct session *live, *answered, *newcomers, **newcomers_tail;
    struct tg_timer live_sweep, answered_sweep;
    unsigned flags; /* of tg_udp_send() */
    struct tg_udp_guess guess;
    bool busy, paused, closed;
};

/* ---- table ---- */

static struct session **bucket_of(struct tg_udp_sessions *t, const struct tg_peer *peer)
{
    uint64_t hash;
    if (peer->any.sa_family == AF_INET) {
        struct { uint32_t ip; uint16_t port, zero; } k = { peer->in.sin_addr.s_addr, peer->in.sin_port, 0 };
        hash = tg_hash(&t->key, &k, sizeof(k));
    } else {
        uint8_t k[18];
        memcpy(k, &peer->in6.sin6_addr, 16);
        memcpy(k + 16, &peer->in6.sin6_port, 2);
        hash = tg_hash(&t->key, k, sizeof(k));
    }
    return &t->buckets[hash & t->mask];
}

static void grow(struct tg_udp_sessions *t)
{
    uint32_t old = t->mask + 1;
    struct session **buckets = t->buckets;
    struct session **larger = calloc((size_t)old * 2, sizeof(*larger));
    if (larger == NULL)
        return; /* longer chains will do */
    t->buckets = larger;
    t->mask = old * 2 - 1;
    for (uint32_t i = 0; i < old; i++) {
        while (buckets[i] != NULL) {
            struct session *s = buckets[i];
            buckets[i] = s->chain;
            struct session **b = bucket_of(t, &s->peer);
            s->chain = *b;
            *b = s;
        }
    }
    free(buckets);
}

static void unhash(struct session *s)
{
    if (!s->hashed)
        return;
    struct session **at = bucket_of(s->t, &s->peer);
    while (*at != s)
        at = &(*at)->chain;
    *at = s->chain;
    s->hashed = false;
}

static void list_remove(struct session *s)
{
    if (s->link == NULL)
        return;
    *s->link = s->next;
    if (s->next != NULL)
        s->next->link = s->link;
    s->link = NULL;
}

static void list_add(struct session **list, struct session *s)
{
    list_remove(s);
    s->next = *list;
    if (s->next != NULL)
        s->next->link = &s->next;
    s->link = list;
    *list = s;
}

static void newcomers_remove(struct session *s)
{
    if (s->link_new == NULL)
        return;
    *s->link_new = s->next_new;
    if (s->next_new != NULL)
        s->next_new->link_new = s->link_new;
    else
        s->t->newcomers_tail = s->link_new;
    s->link_new = NULL;
}

static void newcomers_add(struct session *s)
{
    struct tg_udp_sessions *t = s->t;
    s->next_new = NULL;
    s->link_new = t->newcomers_tail;
    *t->newcomers_tail = s;
    t->newcomers_tail = &s->next_new;
}

/* ---- life of a session ---- */

static void notify(struct session *s)
{
    if (s->wants && (s->queue != NULL || s->t == NULL))
        tg_defer(s->base.reactor, &s->notice);
}

static void on_notice(void *arg)
{
    struct session *s = arg;
    notify(s); /* again next turn, should nobody take it */
    if (s->wants && s->base.on_ready != NULL)
        s->base.on_ready(s->base.ready_arg, TG_READABLE); /* last: `s` may be gone now */
}

static void start_sweep(struct tg_udp_sessions *t, struct tg_timer *timer, uint32_t ms)
{
    if (!tg_timer_running(timer))
        tg_timer_start(t->r, timer, ms);
}

static void accept_session(struct session *s)
{
    if (!s->accepted && s->t != NULL)
        s->t->unaccepted--;
    s->accepted = true;
}

static void drop_queue(struct queued *q)
{
    while (q != NULL) {
        struct queued *next = q->next;
        free(q);
        q = next;
    }
}

static void account(struct session *s, const struct queued *q)
{
    if (s->t != NULL)
        s->t->queued_bytes -= q->len;
}

/* Out of the table: nothing comes in or goes out any more.  Its owner hears of it. */
static void end_session(struct session *s)
{
    if (s->t == NULL)
        return;
    unhash(s);
    list_remove(s);
    newcomers_remove(s);
    accept_session(s);
    for (struct queued *q = s->queue; q != NULL; q = q->next)
        account(s, q);
    s->t->count--;
    s->t = NULL;
    notify(s);
}

static void enqueue(struct session *s, const struct tg_datagram *d)
{
    struct tg_udp_sessions *t = s->t;
    if (s->queued >= t->o.queue || t->queued_bytes + d->len > QUEUED_MOST)
        return;
    struct queued *q = malloc(sizeof(*q) + TG_PACKET_HEADROOM + d->len);
    if (q == NULL)
        return;
    q->next = NULL;
    q->len = d->len;
    memcpy(q->space + TG_PACKET_HEADROOM, d->data, d->len);
    *s->tail = q;
    s->tail = &q->next;
    s->queued++;
    t->queued_bytes += q->len;
}

static int session_recv(struct tg_packet *p, struct tg_datagram *out, int count)
{
    struct session *s = (struct session *)p;
    int n = 0;
    drop_queue(s->given);
    s->given = NULL;
    if (s->queue == NULL)
        return s->t == NULL ? TG_EOF : TG_AGAIN;
    struct queued **given = &s->given;
    while (n < count && s->queue != NULL) {
        struct queued *q = s->queue;
        s->queue = q->next;
        q->next = NULL;
        *given = q;
        given = &q->next;
        account(s, q);
        p->rx += q->len;
        out[n++] = (struct tg_datagram){
            .data = q->space + TG_PACKET_HEADROOM,
            .len = q->len,
            .headroom = TG_PACKET_HEADROOM,
        };
    }
    if (s->queue == NULL)
        s->tail = &s->queue;
    s->queued -= (uint32_t)n;
    return n;
}

static void mark_answered(struct session *s)
{
    struct tg_udp_sessions *t = s->t;
    s->touched = true;
    if (t->o.keepalive || t->o.stateless || s->answered)
        return;
    s->answered = true;
    if (s->with_answered)
        return;
    s->with_answered = true;
    list_add(&t->answered, s);
    start_sweep(t, &t->answered_sweep, TG_ANSWERED_MS);
}

static int send_below(struct session *s, struct tg_datagram *in, int count)
{
    struct tg_packet *lower = s->t->lower;
    for (int i = 0; i < count; i++)
        in[i].peer = s->peer;
    int sent = tg_packet_send(lower, in, count);
    if (sent < 0)
        s->base.error = lower->error;
    return sent;
}

static int session_send(struct tg_packet *p, struct tg_datagram *in, int count)
{
    struct session *s = (struct session *)p;
    if (s->t == NULL)
        return 0;
    for (int i = 0; i < count; i++)
        p->tx += in[i].len;
    int sent = s->t->lower != NULL ? send_below(s, in, count)
                                   : tg_udp_send(s->t->watch.fd, &s->t->flags, &s->peer, in, count);
    mark_answered(s);
    return sent;
}

static void session_want(struct tg_packet *p, bool readable)
{
    struct session *s = (struct session *)p;
    s->wants = readable;
    notify(s);
}

static void session_close(struct tg_packet *p)
{
    struct session *s = (struct session *)p;
    s->wants = false;
    end_session(s);
    tg_defer_cancel(p->reactor, &s->notice);
    drop_queue(s->queue);
    drop_queue(s->given);
    free(s);
}

static int session_name_of(const struct tg_packet *p, bool peer, struct tg_addr *out)
{
    const struct session *s = (const struct session *)p;
    if (peer) {
        out->len = tg_peer_len(&s->peer);
        memcpy(&out->storage, &s->peer.in6, out->len);
        return 0;
    }
    if (s->t == NULL)
        return TG_CLOSED;
    if (s->t->lower != NULL)
        return tg_packet_name(s->t->lower, false, out);
    out->len = sizeof(out->storage);
    return getsockname(s->t->watch.fd, &out->any, &out->len) < 0 ? TG_IO : 0;
}

static const struct tg_packet_ops session_ops = {
    .name = "udp",
    .recv = session_recv,
    .send = session_send,
    .want = session_want,
    .close = session_close,
    .name_of = session_name_of,
};

void tg_udp_session_accept(struct tg_packet *session)
{
    assert(session->ops == &session_ops);
    accept_session((struct session *)session);
}

bool tg_udp_session_peek(const struct tg_packet *p, const uint8_t **data, size_t *len)
{
    const struct session *s = (const struct session *)p;
    if (p->ops != &session_ops || s->queue == NULL)
        return false;
    *data = s->queue->space + TG_PACKET_HEADROOM;
    *len = s->queue->len;
    return true;
}

static struct session *new_session(struct tg_udp_sessions *t, const struct tg_peer *peer)
{
    if (t->unaccepted >= t->o.backlog || (t->o.most > 0 && t->count >= t->o.most))
        return NULL;
    struct session *s = tg_zalloc(sizeof(*s));
    s->base.ops = &session_ops;
    s->base.reactor = t->r;
    s->base.pushes = true;
    s->t = t;
    s->peer = *peer;
    s->tail = &s->queue;
    s->first = s->last = -1;
    s->notice.cb = on_notice;
    s->notice.arg = s;
    if (!t->o.stateless) {
        if (t->count > t->mask)
            grow(t);
        struct session **b = bucket_of(t, peer);
        s->chain = *b;
        *b = s;
        s->hashed = true;
    }
    t->count++;
    t->unaccepted++;
    list_add(&t->live, s);
    newcomers_add(s);
    start_sweep(t, &t->live_sweep, t->o.ttl);
    return s;
}

static struct session *session_for(struct tg_udp_sessions *t, const struct tg_peer *peer)
{
    if (t->o.stateless)
        return new_session(t, peer);
    struct session *s = *bucket_of(t, peer);
    while (s != NULL && !tg_peer_equal(&s->peer, peer))
        s = s->chain;
    if (s != NULL && s->answered && t->o.fresh) {
        end_session(s);
        s = NULL;
    }
    return s != NULL ? s : new_session(t, peer);
}

/* ---- the socket ---- */

static void deliver(struct session *s, struct tg_datagram *in, int count)
{
    s->touched = true;
    s->answered = false; /* the next question: as a new session, decided alike */
    uint64_t bytes = 0;
    for (int i = 0; i < count; i++) {
        bytes += in[i].len;
        in[i].peer.any.sa_family = 0;
        in[i].peer.name_len = 0;
    }
    if (s->base.sink != NULL && s->queue == NULL) {
        s->base.rx += bytes; /* of others when they are taken */
        s->base.sink(s->base.sink_arg, in, count); /* last */
        return;
    }
    for (int i = 0; i < count; i++)
        enqueue(s, &in[i]);
    notify(s);
}

/* Give each session of a batch its share, in order, at once. */
static void distribute(struct tg_udp_sessions *t, struct tg_datagram *in, int count)
{
    struct session *order[TG_PACKET_BATCH], *s = NULL;
    struct tg_datagram share[TG_PACKET_BATCH];
    int16_t next[TG_PACKET_BATCH];
    int sessions = 0;
    for (int i = 0; i < count; i++) {
        if (s == NULL || t->o.stateless || !tg_peer_equal(&s->peer, &in[i].peer))
            s = session_for(t, &in[i].peer);
        if (s == NULL)
            continue;
        next[i] = -1;
        if (s->last < 0) {
            s->first = (int16_t)i;
            order[sessions++] = s;
        } else {
            next[s->last] = (int16_t)i;
        }
        s->last = (int16_t)i;
    }
    for (int k = 0; k < sessions; k++) {
        int n = 0;
        s = order[k];
        for (int i = s->first; i >= 0; i = next[i])
            share[n++] = in[i];
        s->first = s->last = -1;
        deliver(s, share, n);
    }
}

/* on_session() may do anything, this table's end included. */
static void introduce(struct tg_udp_sessions *t)
{
    while (t->newcomers != NULL) {
        struct session *s = t->newcomers;
        newcomers_remove(s);
        t->on_session(t->arg, &s->base);
    }
}

static void free_table(struct tg_udp_sessions *t)
{
    free(t->buckets);
    free(t);
}

static int recv_socket(struct tg_udp_sessions *t, struct tg_datagram *in, bool *drained)
{
    int n = tg_udp_recv(t->r, t->watch.fd, true, t->o.limit, &t->guess, in, TG_PACKET_BATCH, drained);
    if (*drained)
        tg_watch_blocked(&t->watch, TG_READABLE);
    return n;
}

/* Of what comes from below, what has the address of somebody. */
static int recv_below(struct tg_udp_sessions *t, struct tg_datagram *in, bool *drained)
{
    int n = tg_packet_recv(t->lower, in, TG_PACKET_BATCH), kept = 0;
    *drained = n <= 0;
    for (int i = 0; i < n; i++) {
        tg_peer_unmap(&in[i].peer);
        if (in[i].peer.any.sa_family == 0)
            continue;
        if (in[i].len > t->o.limit)
            in[i].len = t->o.limit;
        if (kept != i)
            in[kept] = in[i];
        kept++;
    }
    return n > 0 ? kept : n;
}

static void ended_below(struct tg_udp_sessions *t, int code)
{
    struct tg_error err = t->lower->error;
    if (err.code == TG_OK)
        tg_error_put(&err, t->lower->ops->name, "recv", (enum tg_code)code, NULL);
    tg_packet_want(t->lower, false);
    t->on_end(t->arg, &err); /* last: `t` may be gone now */
}

static void on_input(void *arg, unsigned events)
{
    struct tg_udp_sessions *t = arg;
    struct tg_datagram in[TG_PACKET_BATCH];
    int n = TG_AGAIN;
    (void)events;
    t->busy = true;
    for (int turn = 0; turn < READS_PER_TURN && !t->closed && !t->paused; turn++) {
        bool drained;
        n = t->lower != NULL ? recv_below(t, in, &drained) : recv_socket(t, in, &drained);
        if (n > 0)
            distribute(t, in, n);
        introduce(t);
        if (drained)
            break;
    }
    t->busy = false;
    if (t->closed)
        free_table(t);
    else if (t->lower != NULL && n < 0 && n != TG_AGAIN)
        ended_below(t, n);
}

/* ---- ends ---- */

static void sweep(struct session *list)
{
    while (list != NULL) {
        struct session *next = list->next;
        if (list->with_answered && !list->answered) {
            /* Asked again: it has all the time of a new session for its answer. */
            struct tg_udp_sessions *t = list->t;
            list->with_answered = false;
            list_add(&t->live, list);
            start_sweep(t, &t->live_sweep, t->o.ttl);
        } else if (!list->touched) {
            end_session(list);
        } else {
            list->touched = false;
        }
        list = next;
    }
}

static void on_live_sweep(void *arg)
{
    struct tg_udp_sessions *t = arg;
    sweep(t->live);
    if (t->live != NULL)
        tg_timer_start(t->r, &t->live_sweep, t->o.ttl);
}

static void on_answered_sweep(void *arg)
{
    struct tg_udp_sessions *t = arg;
    sweep(t->answered);
    if (t->answered != NULL)
        tg_timer_start(t->r, &t->answered_sweep, TG_ANSWERED_MS);
}

static struct tg_udp_sessions *new_table(struct tg_reactor *r,
                                         const struct tg_udp_sessions_options *options,
                                         tg_udp_session_cb on_session, void *arg)
{
    struct tg_udp_sessions *t = tg_zalloc(sizeof(*t));
    t->r = r;
    t->o = *options;
    t->on_session = on_session;
    t->arg = arg;
    t->newcomers_tail = &t->newcomers;
    t->mask = BUCKETS_FIRST - 1;
    t->buckets = tg_zalloc(BUCKETS_FIRST * sizeof(*t->buckets));
    t->live_sweep = (struct tg_timer){ .cb = on_live_sweep, .arg = t };
    t->answered_sweep = (struct tg_timer){ .cb = on_answered_sweep, .arg = t };
    tg_hash_key_make(&t->key);
    return t;
}

struct tg_udp_sessions *tg_udp_sessions_open(struct tg_reactor *r, int fd,
                                             const struct tg_udp_sessions_options *options,
                                             tg_udp_session_cb on_session, void *arg,
                                             struct tg_error *err)
{
    struct sockaddr_storage own;
    socklen_t len = sizeof(own);
    if (getsockname(fd, (struct sockaddr *)&own, &len) < 0) {
        tg_error_set(err, "udp", "listen", errno);
        return NULL;
    }
    struct tg_udp_sessions *t = new_table(r, options, on_session, arg);
    t->flags = own.ss_family == AF_INET6 ? TG_UDP_V6 : 0;
    tg_udp_tune(fd, LISTENER_BUFFER);
    if (tg_watch_open_input(r, &t->watch, fd, TG_READABLE | TG_WRITABLE, on_input, t, err) < 0) {
        free_table(t);
        return NULL;
    }
    tg_watch_want(&t->watch, TG_READABLE);
    return t;
}

struct tg_udp_sessions *tg_udp_sessions_over(struct tg_packet *lower,
                                             const struct tg_udp_sessions_options *options,
                                             tg_udp_session_cb on_session,
                                             tg_udp_sessions_end_cb on_end, void *arg)
{
    struct tg_udp_sessions *t = new_table(lower->reactor, options, on_session, arg);
    t->on_end = on_end;
    t->lower = lower;
    lower->on_ready = on_input;
    lower->ready_arg = t;
    tg_packet_want(lower, true);
    return t;
}

void tg_udp_sessions_configure(struct tg_udp_sessions *t,
                               const struct tg_udp_sessions_options *options)
{
    t->o = *options;
}

void tg_udp_sessions_pause(struct tg_udp_sessions *t)
{
    assert(t->lower == NULL);
    t->paused = true;
    tg_watch_want(&t->watch, 0);
}

void tg_udp_sessions_close(struct tg_udp_sessions *t)
{
    if (t->lower != NULL)
        tg_packet_close(t->lower);
    else
        tg_watch_close(&t->watch, true);
    tg_timer_stop(t->r, &t->live_sweep);
    tg_timer_stop(t->r, &t->answered_sweep);
    while (t->answered != NULL)
        end_session(t->answered);
    while (t->newcomers != NULL) { /* nobody else owns these */
        struct session *s = t->newcomers;
        session_close(&s->base);
    }
    while (t->live != NULL)
        end_session(t->live);
    t->closed = true;
    if (!t->busy)
        free_table(t);
}

unsigned tg_udp_sessions_count(const struct tg_udp_sessions *t)
{
    return t->count;
}
