#include "session/mux_core.h"

#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define READ_CHUNK 65536u
#define READ_BUDGET (256u * 1024u)  /* bytes taken from below per turn */
#define CONTROL_MAX (64u * 1024u)   /* unsent bytes above which nothing is read: answers pile up */
#define FIRST_CHAINS 8u
#define GATHER_PART 2048u  /* a write that is not longer goes out with all others of its turn */
#define GATHER_MAX 16384u  /* until there is so much */
#define BATCH 4u /* frames in one write of a stream that is alone in wanting to write */
#define IOV_MAX_PARTS 32
#define FREE_WINDOW (512u * 1024u) /* windows grow to this without a reason but being used */
#define WINDOW_MAX (16u << 20)     /* and never above this */
#define RECEIVE_MAX (4u << 20)     /* what a session holds unread, unless it was told otherwise */
#define RECEIVE_MAX_WINDOWS (32u << 20) /* where streams have windows: nobody fills that alone */
#define RTT_UNKNOWN UINT32_MAX
#define WORDLESS "the peer hung up without a word; its transport, mux.type or mux.version may be another"

/* --- the table of streams ---------------------------------------------------------------- */

static struct tg_mux_stream **chain_of(struct tg_mux *m, uint32_t id)
{
    return &m->chains[(id >> 1) & (m->chain_count - 1)];
}

struct tg_mux_stream *tg_mux_find(struct tg_mux *m, uint32_t id)
{
    struct tg_mux_stream *st = *chain_of(m, id);
    while (st != NULL && st->id != id)
        st = st->next;
    return st;
}

static void grow_table(struct tg_mux *m)
{
    unsigned before = m->chain_count;
    struct tg_mux_stream **old = m->chains;
    struct tg_mux_stream **chains = calloc((size_t)before * 2, sizeof(struct tg_mux_stream *));
    if (chains == NULL)
        return; /* longer chains, then */
    m->chains = chains;
    m->chain_count = before * 2;
    for (unsigned i = 0; i < before; i++) {
        for (struct tg_mux_stream *st = old[i], *next; st != NULL; st = next) {
            next = st->next;
            st->next = *chain_of(m, st->id);
            *chain_of(m, st->id) = st;
        }
    }
    free(old);
}

static void forget(struct tg_mux *m, struct tg_mux_stream *st)
{
    struct tg_mux_stream **link = chain_of(m, st->id);
    while (*link != st)
        link = &(*link)->next;
    *link = st->next;
    m->base.streams--;
}

/* --- readiness ---------------------------------------------------------------------------- */

static bool is_over(const struct tg_mux_stream *st)
{
    return st->session == NULL || st->session->base.dead;
}

static bool is_readable(const struct tg_mux_stream *st)
{
    return st->in.first != NULL || st->fin_received || st->reset || is_over(st);
}

static uint32_t window_left(const struct tg_mux_stream *st)
{
    return st->session->wire->window_left(st);
}

/* Can nothing be written any more? */
static bool is_deaf(const struct tg_mux_stream *st)
{
    return is_over(st) || st->reset || (st->fin_received && !st->session->wire->half_close);
}

/* Reading and failing are told here; writing comes by turns. */
static void on_stream_defer(void *arg)
{
    struct tg_mux_stream *st = arg;
    unsigned events = 0;
    if (is_readable(st))
        events |= TG_READABLE;
    if (is_deaf(st))
        events |= TG_WRITABLE;
    events &= st->wanted;
    if (events == 0)
        return;
    tg_defer(st->base.reactor, &st->defer);
    tg_stream_ready(&st->base, events);
}

static void check(struct tg_mux_stream *st)
{
    bool now = ((st->wanted & TG_READABLE) && is_readable(st)) ||
               ((st->wanted & TG_WRITABLE) && is_deaf(st));
    if (now)
        tg_defer(st->base.reactor, &st->defer);
}

static void leave_turns(struct tg_mux *m, struct tg_mux_stream *st)
{
    if (st->turn_link == NULL)
        return;
    *st->turn_link = st->turn_next;
    if (st->turn_next != NULL)
        st->turn_next->turn_link = st->turn_link;
    else
        m->turns_last = st->turn_link;
    st->turn_link = NULL;
    m->turn_count--;
}

static void join_turns(struct tg_mux *m, struct tg_mux_stream *st)
{
    if (st->turn_link == NULL) {
        st->turn_next = NULL;
        st->turn_link = m->turns_last;
        *m->turns_last = st;
        m->turns_last = &st->turn_next;
        m->turn_count++;
    }
    if (!m->blocked)
        tg_defer(m->base.reactor, &m->work);
}

static void update_wants(struct tg_mux *m)
{
    unsigned events = 0;
    size_t unsent = m->out == NULL ? 0 : tg_buf_len(m->out);
    m->hungry = m->held >= m->options.max_receive || unsent >= CONTROL_MAX;
    if (m->base.dead)
        return;
    if (!m->hungry)
        events |= TG_READABLE;
    if (m->blocked)
        events |= TG_WRITABLE;
    tg_stream_want(m->base.lower, events);
}

/* --- the end ------------------------------------------------------------------------------- */

static void die(struct tg_mux *m, const struct tg_error *why)
{
    if (m->base.dead)
        return;
    m->base.dead = true;
    m->base.error = *why;
    tg_stream_want(m->base.lower, 0);
    tg_timer_stop(m->base.reactor, &m->timer);
    for (unsigned i = 0; i < m->chain_count; i++)
        for (struct tg_mux_stream *st = m->chains[i]; st != NULL; st = st->next)
            check(st);
    tg_defer(m->base.reactor, &m->event);
}

void tg_mux_die(struct tg_mux *m, enum tg_code code, const char *detail)
{
    struct tg_error why;
    tg_error_put(&why, m->wire->name, "session", code, detail);
    die(m, &why);
}

/* --- sending --------------------------------------------------------------------------------- */

static bool keep(struct tg_mux *m, const void *data, size_t len)
{
    struct tg_pool *pool = &m->base.reactor->pool;
    if (m->out == NULL)
        m->out = tg_buf_get(pool, len);
    if (m->out == NULL || !tg_buf_reserve(pool, &m->out, len)) {
        tg_mux_die(m, TG_BUSY, "out of memory");
        return false;
    }
    memcpy(m->out->data + m->out->end, data, len);
    m->out->end += (uint32_t)len;
    return true;
}

void tg_mux_queue(struct tg_mux *m, const uint8_t *frame, size_t len)
{
    if (!m->base.dead && keep(m, frame, len) && !m->blocked)
        tg_defer(m->base.reactor, &m->work);
}

/* A window that holds a reader up grows until it is what can be under way: twice what is read in a round
 * trip.  Larger ones would only make other streams wait.  What windows grow by stays, all together, below
 * half of what the session may hold, so that those who have grown cannot fill it and stop the others. */
static void grow_window(struct tg_mux_stream *st)
{
    struct tg_mux *m = st->session;
    uint64_t now = m->base.reactor->now, took = now - st->used_at;
    uint64_t read = st->consumed - st->reported;
    bool known = m->rtt != RTT_UNKNOWN && m->rtt > 1; /* the clock cannot tell less */
    uint64_t needed = known ? 2 * read * m->rtt / (took > 0 ? took : 1) : 0;
    bool busy = st->used_at != 0 && took < 1000;
    st->used_at = now;
    if (!busy || st->granted > WINDOW_MAX / 2 || m->grown + st->granted > m->options.max_receive / 2)
        return;
    if (st->granted >= FREE_WINDOW && needed <= st->granted)
        return;
    m->grown += st->granted;
    st->granted *= 2;
}

/* What has arrived beyond what the peer could send before our last update tells how long that took. */
static void note_received(struct tg_mux *m, struct tg_mux_stream *st, size_t len)
{
    st->received += (uint32_t)len;
    if (st->told_at == 0 || (int32_t)(st->received - st->limit) <= 0)
        return;
    uint64_t took = m->base.reactor->now - st->told_at;
    st->told_at = 0;
    if (took < m->rtt)
        m->rtt = (uint32_t)took;
}

static void send_update(struct tg_mux_stream *st)
{
    struct tg_mux *m = st->session;
    if (st->told_at == 0) {
        st->limit = st->reported + (st->used_at == 0 ? TG_SMUX_FIRST_WINDOW : st->granted);
        st->told_at = m->base.reactor->now;
    }
    grow_window(st);
    m->wire->update(m, st);
    st->reported = st->consumed;
}

static void feed(struct tg_mux *m, const uint8_t *data, size_t len);

/* The peer takes no more, but what it said before it left may wait below. */
static void take_last_words(struct tg_mux *m)
{
    uint8_t *chunk = tg_pool_scratch(&m->base.reactor->pool);
    ssize_t n;
    while (!m->base.dead && (n = tg_stream_read(m->base.lower, chunk, READ_CHUNK)) > 0) {
        m->spoken = true;
        feed(m, chunk, (size_t)n);
    }
}

/* Who hangs up, or is reset, before a word came was not understood, as far as anybody can tell. */
static void lower_failed(struct tg_mux *m)
{
    const struct tg_error *why = &m->base.lower->error;
    if (!m->spoken && why->code == TG_RESET && why->sys != 0) /* else the lower one knows better */
        tg_mux_die(m, TG_RESET, WORDLESS);
    else
        die(m, why);
}

/* Write parts below, what was kept first; what does not go is kept.
 * @return 0, or a negative code when the session died */
static ssize_t send_parts(struct tg_mux *m, struct iovec *iov, int count, size_t total)
{
    /* iov[0] is left free for what was kept */
    size_t kept = m->out == NULL ? 0 : tg_buf_len(m->out);
    int first = kept > 0 ? 0 : 1;
    if (kept > 0)
        iov[0] = (struct iovec){ m->out->data + m->out->start, kept };
    ssize_t n = count - first == 0 ? 0 : tg_stream_writev(m->base.lower, iov + first, count - first);
    if (n == TG_AGAIN)
        n = 0;
    if (n < 0) {
        take_last_words(m);
        lower_failed(m);
        return m->base.error.code;
    }
    size_t sent = (size_t)n, of_kept = sent < kept ? sent : kept;
    m->blocked = sent < kept + total;
    if (kept > 0) {
        m->out->start += (uint32_t)of_kept;
        if (of_kept == kept) {
            tg_buf_put(&m->base.reactor->pool, m->out);
            m->out = NULL;
        }
    }
    sent -= of_kept;
    /* Also when nothing went: a layer below that has begun with these bytes must get them first. */
    for (int i = 1; i < count && sent < total; i++) {
        size_t skip = sent < iov[i].iov_len ? sent : iov[i].iov_len;
        if (skip < iov[i].iov_len &&
            !keep(m, (uint8_t *)iov[i].iov_base + skip, iov[i].iov_len - skip))
            return m->base.error.code;
        sent -= skip;
        total -= iov[i].iov_len;
    }
    return 0;
}

static bool flush(struct tg_mux *m)
{
    struct iovec iov[1];
    if (m->out != NULL)
        send_parts(m, iov, 1, 0);
    return !m->base.dead && !m->blocked;
}

/* Give the pen to who waits longest. */
static void on_work(void *arg)
{
    struct tg_mux *m = arg;
    bool free_below = !m->base.dead && flush(m);
    update_wants(m);
    while (free_below && m->turns != NULL) {
        struct tg_mux_stream *st = m->turns;
        leave_turns(m, st);
        if (!(st->wanted & TG_WRITABLE) || window_left(st) == 0)
            continue;
        join_turns(m, st); /* at the end, and with that the next turn is arranged */
        st->turn = true;
        tg_stream_ready(&st->base, TG_WRITABLE);
        return;
    }
}

/* --- receiving -------------------------------------------------------------------------------- */

static struct tg_mux_stream *make_stream(struct tg_mux *m, uint32_t id);

static void take_payload(struct tg_mux *m, const uint8_t *data, size_t len)
{
    struct tg_mux_stream *st = tg_mux_find(m, m->frame_id);
    if (st == NULL || st->fin_received || st->reset)
        return;
    m->held += (uint32_t)len;
    st->held += (uint32_t)len;
    note_received(m, st, len);
    tg_bufs_add(&st->base.reactor->pool, &st->in, data, len, READ_CHUNK);
    check(st);
}

void tg_mux_resume(struct tg_mux *m, struct tg_mux_stream *st)
{
    if ((st->wanted & TG_WRITABLE) && window_left(st) > 0)
        join_turns(m, st);
}

void tg_mux_take_syn(struct tg_mux *m, uint32_t id)
{
    if (tg_mux_find(m, id) != NULL)
        return;
    if (m->backlog >= TG_SMUX_BACKLOG ||
        (m->options.max_streams > 0 && m->base.streams >= m->options.max_streams)) {
        m->wire->refuse(m, id);
        return;
    }
    struct tg_mux_stream *st = make_stream(m, id);
    m->backlog++;
    *m->accept_last = st;
    m->accept_last = &st->accept_next;
    m->wire->accepted(m, st);
    tg_defer(m->base.reactor, &m->event);
}

void tg_mux_take_fin(struct tg_mux *m, uint32_t id)
{
    struct tg_mux_stream *st = tg_mux_find(m, id);
    if (st == NULL)
        return;
    st->fin_received = true;
    if (!m->wire->half_close)
        leave_turns(m, st);
    check(st);
}

void tg_mux_take_reset(struct tg_mux *m, uint32_t id)
{
    struct tg_mux_stream *st = tg_mux_find(m, id);
    if (st == NULL)
        return;
    st->reset = true;
    leave_turns(m, st);
    check(st);
}

static void feed(struct tg_mux *m, const uint8_t *data, size_t len)
{
    while (len > 0 && !m->base.dead) {
        size_t n, need = m->wire->head_len - m->head_len;
        if (m->frame_left == 0) {
            n = need < len ? need : len;
            memcpy(m->head + m->head_len, data, n);
            m->head_len += (uint8_t)n;
            if (m->head_len == m->wire->head_len) {
                m->head_len = m->update_len = 0;
                m->wire->take_head(m);
            }
        } else {
            n = m->frame_left < len ? m->frame_left : len;
            m->frame_left -= (uint32_t)n;
            if (m->frame_data) {
                take_payload(m, data, n);
            } else {
                memcpy(m->update + m->update_len, data, n);
                m->update_len += (uint8_t)n;
                if (m->frame_left == 0)
                    m->wire->take_rest(m);
            }
        }
        data += n;
        len -= n;
    }
}

static void receive(struct tg_mux *m)
{
    uint8_t *chunk = tg_pool_scratch(&m->base.reactor->pool);
    for (size_t taken = 0; taken < READ_BUDGET && !m->base.dead && !m->hungry;) {
        ssize_t n = tg_stream_read(m->base.lower, chunk, READ_CHUNK);
        if (n == TG_AGAIN)
            return;
        if (n < 0) {
            lower_failed(m);
            return;
        }
        if (n == 0) {
            tg_mux_die(m, TG_EOF, m->spoken ? "the peer closed the connection" : WORDLESS);
            return;
        }
        m->spoken = true;
        m->heard = m->base.reactor->now;
        tg_session_queue_count(&m->base, (size_t)n);
        taken += (size_t)n;
        feed(m, chunk, (size_t)n);
        update_wants(m);
        if ((size_t)n < READ_CHUNK)
            return; /* most likely that was all; if not, we are asked again */
    }
}

static void on_lower(void *arg, unsigned events)
{
    struct tg_mux *m = arg;
    if (m->base.dead)
        return;
    if (events & TG_WRITABLE)
        m->blocked = false;
    if (events & (TG_READABLE | TG_HANGUP))
        receive(m);
    if (!m->base.dead && !m->blocked && (m->out != NULL || m->turns != NULL))
        tg_defer(m->base.reactor, &m->work);
    update_wants(m);
}

static void on_event(void *arg)
{
    struct tg_mux *m = arg;
    if (m->base.on_event != NULL)
        m->base.on_event(m->base.event_arg);
}

static void on_timer(void *arg)
{
    struct tg_mux *m = arg;
    uint64_t now = m->base.reactor->now;
    /* what we do not read because nobody takes it says nothing about the peer, nor its silence while we did
     * not run */
    bool ran = now - m->pinged < 2 * (uint64_t)m->options.keepalive;
    if (!m->hungry && ran && now - m->heard >= m->options.timeout) {
        tg_mux_die(m, TG_TIMEOUT, "the peer has been silent for too long");
        return;
    }
    m->pinged = now;
    if (m->out == NULL || tg_buf_len(m->out) < CONTROL_MAX)
        m->wire->ping(m);
    tg_timer_start(m->base.reactor, &m->timer, m->options.keepalive);
}

/* --- streams ------------------------------------------------------------------------------------ */

/* Why reading and writing come to an end without FIN. */
static int break_off(struct tg_mux_stream *st, const char *op)
{
    const char *detail = "the session is closed";
    enum tg_code code = TG_RESET;
    if (st->session != NULL) {
        detail = st->session->base.error.detail;
        if (st->session->base.error.code != TG_EOF)
            code = st->session->base.error.code;
        if (detail == NULL)
            detail = "the connection beneath failed";
    }
    return tg_stream_break(&st->base, op, code, detail);
}

static void note_consumed(struct tg_mux_stream *st, size_t n)
{
    struct tg_mux *m = st->session;
    st->held -= (uint32_t)n;
    if (m == NULL)
        return;
    m->held -= (uint32_t)n;
    if (m->hungry)
        update_wants(m);
    if (m->options.version < 2 || m->base.dead || st->fin_received || st->reset)
        return;
    bool first = st->consumed == 0;
    st->consumed += (uint32_t)n;
    if (first || st->consumed - st->reported >= st->granted / 2)
        send_update(st);
}

static ssize_t stream_read(struct tg_stream *s, void *buf, size_t len)
{
    struct tg_mux_stream *st = (struct tg_mux_stream *)s;
    size_t n = tg_bufs_take(&s->reactor->pool, &st->in, buf, len);
    if (n > 0) {
        note_consumed(st, n);
        return (ssize_t)n;
    }
    if (st->fin_received)
        return 0;
    if (st->reset)
        return tg_stream_break(s, "read", TG_RESET, "the peer has reset the stream");
    return is_over(st) ? break_off(st, "read") : TG_AGAIN;
}

/* Where the user's bytes are read from. */
struct source {
    const struct iovec *iov;
    int left;  /* parts */
    size_t at; /* within the first */
};

/* The next bytes, `most` of them at most, as parts.  @return how many parts there are now */
static int cut_parts(struct iovec *out, int parts, struct source *from, size_t most, size_t *total)
{
    *total = 0;
    while (from->left > 0 && parts < IOV_MAX_PARTS && *total < most) {
        size_t n = from->iov->iov_len - from->at;
        n = n < most - *total ? n : most - *total;
        if (n > 0)
            out[parts++] = (struct iovec){ (uint8_t *)from->iov->iov_base + from->at, n };
        *total += n;
        from->at += n;
        if (from->at == from->iov->iov_len) {
            from->iov++;
            from->left--;
            from->at = 0;
        }
    }
    return parts;
}

/* Frames of one stream in one write.  @return bytes of payload taken, or a negative code */
static ssize_t send_frames(struct tg_mux_stream *st, const struct iovec *iov, int count, size_t most,
                           unsigned frames)
{
    struct tg_mux *m = st->session;
    struct source from = { iov, count, 0 };
    struct iovec parts[IOV_MAX_PARTS + 1];
    uint8_t heads[BATCH][TG_MUX_HEAD_MAX];
    size_t payload = 0;
    int n = 1; /* the first is for what was kept */
    unsigned used = 0;
    for (; used < frames && payload < most && n + 1 < IOV_MAX_PARTS; used++) {
        size_t len, cut = most - payload < m->options.max_frame ? most - payload
                                                                : m->options.max_frame;
        int head = n;
        n = cut_parts(parts, head + 1, &from, cut, &len);
        if (len == 0) {
            n = head;
            break;
        }
        m->wire->data_head(m, heads[used], st->id, len);
        parts[head] = (struct iovec){ heads[used], m->wire->head_len };
        payload += len;
    }
    if (payload == 0)
        return 0;
    ssize_t code = send_parts(m, parts, n, payload + (size_t)used * m->wire->head_len);
    return code < 0 ? code : (ssize_t)payload;
}

/* Many streams that say little share a write, and a record of what encrypts it.
 * @return bytes of payload taken; 0: it is no case for that */
static size_t gather(struct tg_mux_stream *st, const struct iovec *iov, int count, size_t most)
{
    struct tg_mux *m = st->session;
    size_t len = tg_iov_total(iov, count), kept = m->out == NULL ? 0 : tg_buf_len(m->out);
    uint8_t frame[TG_MUX_HEAD_MAX + GATHER_PART], *to = frame + m->wire->head_len;
    if (len == 0 || len > GATHER_PART || len > most || len > m->options.max_frame ||
        kept + len > GATHER_MAX)
        return 0;
    m->wire->data_head(m, frame, st->id, len);
    for (int i = 0; i < count; to += iov[i].iov_len, i++)
        memcpy(to, iov[i].iov_base, iov[i].iov_len);
    tg_mux_queue(m, frame, m->wire->head_len + len);
    return m->base.dead ? 0 : len;
}

/* The peer takes no more, but what it said before is for the user: a stream that has failed is not read
 * any more, what was read ahead of it is. */
static void rescue_input(struct tg_mux_stream *st)
{
    struct tg_stream_extras *extras = st->base.extras;
    st->base.extras = NULL; /* without meters: now or never */
    while (st->held > 0 && tg_stream_fill(&st->base, UINT32_MAX) > 0)
        continue;
    st->base.extras = extras;
}

static ssize_t stream_writev(struct tg_stream *s, const struct iovec *iov, int count)
{
    struct tg_mux_stream *st = (struct tg_mux_stream *)s;
    if (is_deaf(st))
        rescue_input(st);
    if (is_over(st))
        return break_off(st, "write");
    if (is_deaf(st) || st->fin_sent)
        return tg_stream_break(s, "write", TG_RESET, "the stream is closed");
    struct tg_mux *m = st->session;
    size_t most = window_left(st);
    if (most == 0)
        return TG_AGAIN; /* UPD wakes it */
    bool others = m->turn_count > (st->turn_link != NULL);
    if (m->blocked || (others && !st->turn)) {
        if (st->wanted & TG_WRITABLE)
            join_turns(m, st);
        return TG_AGAIN;
    }
    st->turn = false;
    ssize_t n = (ssize_t)gather(st, iov, count, most);
    if (n == 0 && !m->base.dead)
        n = send_frames(st, iov, count, most, others ? 1 : BATCH);
    else if (n == 0)
        n = m->base.error.code;
    if (m->blocked)
        update_wants(m);
    if (n < 0)
        return break_off(st, "write");
    st->written += (uint32_t)n;
    return n;
}

static int stream_shutdown(struct tg_stream *s)
{
    struct tg_mux_stream *st = (struct tg_mux_stream *)s;
    if (st->session != NULL && !st->fin_sent)
        st->session->wire->fin(st->session, st->id);
    st->fin_sent = true;
    return 0;
}

static void stream_want(struct tg_stream *s, unsigned events)
{
    struct tg_mux_stream *st = (struct tg_mux_stream *)s;
    st->wanted = (uint8_t)events;
    check(st);
    if (is_over(st))
        return;
    if (!(events & TG_WRITABLE))
        leave_turns(st->session, st);
    else if (!is_deaf(st) && window_left(st) > 0)
        join_turns(st->session, st);
}

/* Take it out of its session. */
static void part(struct tg_mux_stream *st)
{
    struct tg_mux *m = st->session;
    if (m == NULL)
        return;
    leave_turns(m, st);
    forget(m, st);
    m->held -= st->held;
    m->grown -= st->granted - m->options.max_stream;
    st->session = NULL;
}

static void stream_close(struct tg_stream *s)
{
    struct tg_mux_stream *st = (struct tg_mux_stream *)s;
    struct tg_mux *m = st->session;
    if (m != NULL) {
        if (!st->fin_sent)
            m->wire->fin(m, st->id);
        part(st);
        if (m->hungry)
            update_wants(m);
    }
    tg_defer_cancel(s->reactor, &st->defer);
    tg_bufs_clear(&s->reactor->pool, &st->in);
    free(st);
}

static int stream_name(const struct tg_stream *s, bool peer, struct sockaddr_storage *out,
                       socklen_t *len)
{
    const struct tg_mux_stream *st = (const struct tg_mux_stream *)s;
    return st->session == NULL ? TG_CLOSED
                               : tg_stream_name(st->session->base.lower, peer, out, len);
}

#define STREAM_OPS(kind) \
    { \
        .name = kind, .read = stream_read, .writev = stream_writev, .shutdown = stream_shutdown, \
        .want = stream_want, .close = stream_close, .name_of = stream_name, \
    }

static const struct tg_stream_ops smux_stream_ops = STREAM_OPS("smux");
static const struct tg_stream_ops yamux_stream_ops = STREAM_OPS("yamux");

static struct tg_mux_stream *make_stream(struct tg_mux *m, uint32_t id)
{
    struct tg_mux_stream *st = tg_zalloc(sizeof(*st));
    st->base.ops = m->options.yamux ? &yamux_stream_ops : &smux_stream_ops;
    st->base.reactor = m->base.reactor;
    st->base.state = TG_STREAM_OPEN;
    st->base.half_close = m->wire->half_close;
    st->session = m;
    st->id = id;
    st->window = TG_SMUX_FIRST_WINDOW;
    st->granted = st->allowed = m->options.max_stream;
    st->defer.cb = on_stream_defer;
    st->defer.arg = st;
    if (m->base.streams >= m->chain_count)
        grow_table(m);
    st->next = *chain_of(m, id);
    *chain_of(m, id) = st;
    m->base.streams++;
    return st;
}

/* --- the session as its user sees it -------------------------------------------------------------- */

static struct tg_stream *mux_open(struct tg_session *s, struct tg_error *err)
{
    struct tg_mux *m = (struct tg_mux *)s;
    if (m->going) {
        tg_error_put(err, m->wire->name, "open", TG_CLOSED, "the peer takes no more streams");
        return NULL;
    }
    if (m->options.max_streams > 0 && s->streams >= m->options.max_streams) {
        tg_error_put(err, m->wire->name, "open", TG_LIMIT, "too many streams");
        return NULL;
    }
    if (m->next_id > UINT32_MAX - 4) {
        tg_error_put(err, m->wire->name, "open", TG_LIMIT, "stream numbers are used up");
        return NULL;
    }
    struct tg_mux_stream *st = make_stream(m, m->next_id);
    m->next_id += 2;
    m->wire->open(m, st);
    return &st->base;
}

static struct tg_stream *mux_accept(struct tg_session *s)
{
    struct tg_mux *m = (struct tg_mux *)s;
    struct tg_mux_stream *st = m->accept_first;
    if (st == NULL)
        return NULL;
    m->accept_first = st->accept_next;
    if (m->accept_first == NULL)
        m->accept_last = &m->accept_first;
    m->backlog--;
    return &st->base;
}

static void mux_close(struct tg_session *s)
{
    struct tg_mux *m = (struct tg_mux *)s;
    struct tg_stream *waiting;
    while ((waiting = mux_accept(s)) != NULL)
        tg_stream_close(waiting);
    if (!s->dead)
        flush(m); /* FINs, and what the last streams wrote */
    for (unsigned i = 0; i < m->chain_count; i++) {
        while (m->chains[i] != NULL) {
            struct tg_mux_stream *st = m->chains[i];
            part(st);
            check(st);
        }
    }
    tg_timer_stop(s->reactor, &m->timer);
    tg_defer_cancel(s->reactor, &m->work);
    tg_defer_cancel(s->reactor, &m->event);
    tg_buf_put(&s->reactor->pool, m->out);
    tg_stream_close(s->lower);
    free(m->chains);
    free(m);
}

static const struct tg_session_ops mux_ops = {
    .name = "mux",
    .open = mux_open,
    .accept = mux_accept,
    .close = mux_close,
};

static void set_options(struct tg_smux_options *o, const struct tg_smux_options *wanted)
{
    *o = *wanted;
    o->version = o->version == 2 || o->yamux ? 2 : 1;
    if (o->yamux && o->max_stream < TG_SMUX_FIRST_WINDOW)
        o->max_stream = TG_SMUX_FIRST_WINDOW;
    o->max_frame = o->max_frame == 0 ? 32768 : o->max_frame;
    if (o->max_receive == 0)
        o->max_receive = o->version == 2 ? RECEIVE_MAX_WINDOWS : RECEIVE_MAX;
    o->max_receive = o->max_receive < 65536 ? 65536 : o->max_receive;
    o->max_stream = o->max_stream < 1024 ? 1024 : o->max_stream;
    if (o->max_stream > o->max_receive)
        o->max_stream = o->max_receive;
    if (o->timeout < o->keepalive)
        o->timeout = o->keepalive;
}

struct tg_session *tg_smux_start(struct tg_stream *lower, const struct tg_smux_options *options)
{
    struct tg_mux *m = tg_zalloc(sizeof(*m));
    set_options(&m->options, options);
    m->base.ops = &mux_ops;
    m->base.reactor = lower->reactor;
    m->base.lower = lower;
    m->chain_count = FIRST_CHAINS;
    m->chains = tg_zalloc(FIRST_CHAINS * sizeof(struct tg_mux_stream *));
    m->accept_last = &m->accept_first;
    m->turns_last = &m->turns;
    m->wire = options->yamux ? &tg_yamux_wire : &tg_smux_wire;
    m->next_id = !m->options.client ? 2 : options->yamux ? 1 : 3;
    m->rtt = RTT_UNKNOWN;
    m->work = (struct tg_defer){ .cb = on_work, .arg = m };
    m->event = (struct tg_defer){ .cb = on_event, .arg = m };
    m->timer = (struct tg_timer){ .cb = on_timer, .arg = m };
    m->heard = lower->reactor->now;
    lower->on_ready = on_lower;
    lower->ready_arg = m;
    tg_session_queue_start(&m->base);
    if (m->options.keepalive > 0)
        tg_timer_start(lower->reactor, &m->timer, m->options.keepalive);
    update_wants(m);
    /* bytes that were read ahead make no descriptor readable */
    if (lower->ahead != NULL)
        receive(m);
    return &m->base;
}
