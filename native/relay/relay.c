#include "relay/relay.h"

#include "base/mem.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK (128u * 1024u)       /* read at once: fits the second-level cache */
#define BUDGET (1u << 20)          /* moved per direction and turn, so that others get theirs */
#define SHARED_BUDGET (1u << 18)   /* when an end is one of many streams of a connection: they wait for its bytes */
#define BUSY_READS 2               /* full reads in a row that make a flow worth splicing */
#define CROWD 256u                 /* relays that make it worth giving memory back afterwards */
#define RUSH 4096u                 /* short ones that leave garbage behind, likewise */
#define QUIET_MS 500

/* One direction.  All zero: idle and open. */
struct flow {
    struct tg_buf *stuck;  /* read but not written yet; NULL: nothing */
    struct tg_pipe *pipe;  /* in splice mode while bytes are under way */
    uint64_t bytes;
    uint8_t busy;          /* full reads in a row */
    bool ended;            /* the source has no more */
    bool done;             /* ... and the sink was told */
    bool held_back;        /* the sink's meters have no tokens */
};

struct tg_relay {
    struct tg_relay *next, **link;
    struct tg_relay_list *list;
    struct tg_reactor *r;
    struct tg_relay_options *options; /* NULL: none */
    struct tg_stream *side[2]; /* NULL: closed */
    struct flow flow[2];       /* flow[i] reads side[i] and writes side[1 - i] */
    uint64_t started, active;  /* ms: start, last byte */
    union {
        struct tg_timer timer; /* while it lives: idle and linger */
        struct tg_defer over;  /* afterwards: the call of done */
    };
    tg_relay_done done;
    void *arg;
    struct tg_relay_result *result; /* once over */
    bool begun; /* false while still inside tg_relay_start() */
};

struct tg_relay_options *tg_relay_options_new(void)
{
    struct tg_relay_options *o = tg_zalloc(sizeof(*o));
    o->holders = 1;
    return o;
}

struct tg_relay_options *tg_relay_options_hold(struct tg_relay_options *o)
{
    if (o != NULL)
        o->holders++;
    return o;
}

void tg_relay_options_drop(struct tg_relay_options *o)
{
    if (o == NULL || --o->holders > 0)
        return;
    tg_meter_drop(o->meter);
    free(o);
}

static void close_streams(struct tg_relay *relay)
{
    for (int i = 0; i < 2; i++) {
        struct flow *f = &relay->flow[i];
        tg_buf_put(&relay->r->pool, f->stuck);
        tg_pipe_put(&relay->list->pipes, f->pipe);
        f->stuck = NULL;
        f->pipe = NULL;
        if (relay->side[i] != NULL)
            tg_stream_close(relay->side[i]);
        relay->side[i] = NULL;
    }
}

static void on_over(void *arg)
{
    struct tg_relay *relay = arg;
    if (relay->done != NULL)
        relay->done(relay->arg, relay->result);
    free(relay->result);
    free(relay);
}

/* Has it become quiet after a crowd, or silent after a long rush? */
static bool is_quiet(const struct tg_relay_list *list)
{
    return (list->peak >= CROWD && list->count <= list->peak / 4) ||
           (list->ended >= RUSH && list->count == 0);
}

static void on_quiet(void *arg)
{
    struct tg_relay_list *list = arg;
    if (!is_quiet(list))
        return;
    list->peak = list->count;
    list->ended = 0;
    if (list->on_quiet != NULL)
        list->on_quiet(list);
}

static void joined(struct tg_relay_list *list)
{
    if (++list->count > list->peak)
        list->peak = list->count;
}

static void left(struct tg_relay_list *list, struct tg_reactor *r)
{
    list->count--;
    list->ended++;
    if (!is_quiet(list))
        return;
    list->quiet.cb = on_quiet;
    list->quiet.arg = list;
    if (!tg_timer_running(&list->quiet))
        tg_timer_start(r, &list->quiet, QUIET_MS);
}

/* The end: everything is let go, and `done` hears of it (later, when the caller
 * of tg_relay_start() or tg_relay_cut() is still on the stack). */
static void finish(struct tg_relay *relay, const struct tg_error *err, bool from_b, bool later)
{
    struct tg_relay_result *result = tg_zalloc(sizeof(*result));
    tg_relay_peek(relay, result);
    if (err != NULL)
        result->error = *err;
    result->from_b = from_b;
    relay->result = result;

    close_streams(relay);
    tg_timer_stop(relay->r, &relay->timer);
    tg_relay_options_drop(relay->options);
    *relay->link = relay->next;
    if (relay->next != NULL)
        relay->next->link = relay->link;
    left(relay->list, relay->r);

    relay->over = (struct tg_defer){ .cb = on_over, .arg = relay };
    if (later)
        tg_defer(relay->r, &relay->over);
    else
        on_over(relay);
}

static void account(struct tg_relay *relay, int i, size_t n)
{
    relay->flow[i].bytes += n;
    relay->active = relay->r->now;
}

/* What a step of a flow tells its loop. */
enum step {
    STEP_ON = 0,    /* go on */
    STEP_WAIT = 1,  /* nothing to do until something becomes ready */
    STEP_LOST = 2,  /* the sink is gone, but what its peer said before is not */
    STEP_OVER = -1, /* the relay is gone */
};

static enum step fail(struct tg_relay *relay, int side)
{
    struct tg_error err = relay->side[side]->error;
    finish(relay, &err, side == 1, !relay->begun);
    return STEP_OVER;
}

static enum step fail_sys(struct tg_relay *relay, int side, const char *op, int sys)
{
    tg_stream_fail(relay->side[side], op, sys);
    return fail(relay, side);
}

static bool holds_bytes(const struct flow *f)
{
    return f->stuck != NULL || (f->pipe != NULL && f->pipe->held > 0);
}

static void leave_splice(struct tg_relay *relay, struct flow *f)
{
    tg_pipe_put(&relay->list->pipes, f->pipe);
    f->pipe = NULL;
}

/* Writing failed.  What the sink's peer said before it left (an early answer to an
 * upload) is still passed on; only this direction is over. */
static enum step lose_sink(struct tg_relay *relay, int i)
{
    struct flow *f = &relay->flow[i], *back = &relay->flow[1 - i];
    if (back->done || (relay->side[1 - i]->ahead == NULL && !holds_bytes(back)))
        return fail(relay, 1 - i);
    tg_buf_put(&relay->r->pool, f->stuck);
    f->stuck = NULL;
    leave_splice(relay, f);
    f->ended = f->done = true;
    return STEP_LOST;
}

/* How much of `most` may be written once it is read; the rest is not read before.
 * @return 0: see *out */
static size_t room(struct tg_relay *relay, int i, size_t most, enum step *out)
{
    ssize_t n = tg_stream_reserve(relay->side[1 - i], TG_WRITABLE, most);
    relay->flow[i].held_back = n == TG_AGAIN;
    if (n > 0)
        return (size_t)n;
    *out = n == TG_AGAIN ? STEP_WAIT : lose_sink(relay, i);
    return 0;
}

/* Keep what the sink did not take. */
static void keep(struct tg_relay *relay, struct flow *f, const uint8_t *data, size_t len)
{
    f->stuck = tg_buf_get(&relay->r->pool, len);
    if (f->stuck == NULL)
        abort(); /* CHUNK bytes at most */
    memcpy(f->stuck->data, data, len);
    f->stuck->end = (uint32_t)len;
}

static enum step write_stuck(struct tg_relay *relay, int i)
{
    struct flow *f = &relay->flow[i];
    struct tg_buf *b = f->stuck;
    ssize_t n = tg_stream_write(relay->side[1 - i], b->data + b->start, tg_buf_len(b));
    if (n == TG_AGAIN)
        return STEP_WAIT;
    if (n < 0)
        return lose_sink(relay, i);
    b->start += (uint32_t)n;
    if (tg_buf_len(b) > 0)
        return STEP_ON;
    tg_buf_put(&relay->r->pool, b);
    f->stuck = NULL;
    return STEP_ON;
}

static enum step copy_chunk(struct tg_relay *relay, int i)
{
    struct flow *f = &relay->flow[i];
    if (tg_stream_is_empty(relay->side[i])) {
        f->busy = 0;
        f->held_back = false;
        return STEP_WAIT;
    }
    uint8_t *chunk = tg_pool_scratch(&relay->r->pool);
    uint32_t grain = relay->side[1 - i]->grain;
    enum step wait = STEP_WAIT;
    size_t most = room(relay, i, grain > 0 && grain < CHUNK ? grain : CHUNK, &wait);
    if (most == 0)
        return wait;
    ssize_t n = tg_stream_read(relay->side[i], chunk, most);
    tg_stream_release(relay->side[1 - i], TG_WRITABLE, n > 0 ? (size_t)n : 0);
    if (n == TG_AGAIN) {
        f->busy = relay->side[i]->rationed ? f->busy : 0;
        return STEP_WAIT;
    }
    if (n < 0)
        return fail(relay, i);
    if (n == 0) {
        f->ended = true;
        return STEP_ON;
    }
    bool full = (size_t)n == most || relay->side[i]->rationed;
    f->busy = full ? (uint8_t)(f->busy + (f->busy < BUSY_READS)) : 0;
    account(relay, i, (size_t)n);
    relay->list->copied += (uint64_t)n;
    ssize_t sent = tg_stream_write(relay->side[1 - i], chunk, (size_t)n);
    if (sent < 0 && sent != TG_AGAIN)
        return lose_sink(relay, i);
    size_t taken = sent > 0 ? (size_t)sent : 0;
    if (taken < (size_t)n)
        keep(relay, f, chunk + taken, (size_t)n - taken);
    return STEP_ON;
}

static enum step drain_pipe(struct tg_relay *relay, int i)
{
    struct flow *f = &relay->flow[i];
    struct tg_stream *sink = relay->side[1 - i];
    ssize_t n = splice(f->pipe->out, NULL, tg_stream_fd(sink), NULL, f->pipe->held,
                       SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    if (n > 0) {
        f->pipe->held -= (size_t)n;
        return STEP_ON;
    }
    if (n < 0 && errno == EAGAIN) {
        sink->ops->blocked(sink, TG_WRITABLE);
        return STEP_WAIT;
    }
    /* An ordinary write fails as well, and keeps what the peer said before. */
    int sys = n == 0 ? EPIPE : errno;
    if (tg_stream_write(sink, "", 0) >= 0)
        return fail_sys(relay, 1 - i, "write", sys);
    return lose_sink(relay, i);
}

static enum step fill_pipe(struct tg_relay *relay, int i)
{
    struct flow *f = &relay->flow[i];
    struct tg_stream *source = relay->side[i];
    enum step wait = STEP_WAIT;
    size_t most = room(relay, i, TG_PIPE_SIZE, &wait);
    if (most == 0)
        return wait;
    ssize_t allowed = tg_stream_reserve(source, TG_READABLE, most);
    if (allowed < 0) {
        tg_stream_release(relay->side[1 - i], TG_WRITABLE, 0);
        return allowed == TG_AGAIN ? STEP_WAIT : fail(relay, i);
    }
    most = (size_t)allowed;
    ssize_t n = splice(tg_stream_fd(source), NULL, f->pipe->in, NULL, most,
                       SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    tg_stream_spend(source, TG_READABLE, n > 0 ? (size_t)n : 0);
    tg_stream_spend(relay->side[1 - i], TG_WRITABLE, n > 0 ? (size_t)n : 0);
    if (n > 0) {
        f->pipe->held += (size_t)n;
        account(relay, i, (size_t)n);
        relay->list->spliced += (uint64_t)n;
        return STEP_ON;
    }
    if (n == 0) {
        f->ended = true;
        source->eof = true;
        return STEP_ON;
    }
    if (errno == EAGAIN && !source->ops->obstructed(source)) {
        source->ops->blocked(source, TG_READABLE);
        return STEP_WAIT;
    }
    if (errno == EAGAIN || errno == EINVAL) { /* what cannot be spliced is copied */
        f->busy = 0;
        leave_splice(relay, f);
        return STEP_ON;
    }
    return fail_sys(relay, i, "read", errno);
}

/* @return true when this flow goes, or may now go, through a pipe */
static bool splicing(struct tg_relay *relay, int i)
{
    struct flow *f = &relay->flow[i];
    if (f->busy < BUSY_READS)
        return false;
    if (tg_stream_fd(relay->side[i]) < 0 || tg_stream_fd(relay->side[1 - i]) < 0) {
        leave_splice(relay, f); /* an end failed meanwhile */
        return false;
    }
    if (f->pipe != NULL)
        return true;
    f->pipe = tg_pipe_get(&relay->list->pipes);
    if (f->pipe == NULL)
        f->busy = 0;
    return f->pipe != NULL;
}

/* The source has ended and all is written: pass it on. */
static enum step pass_end(struct tg_relay *relay, int i)
{
    struct flow *f = &relay->flow[i], *other = &relay->flow[1 - i];
    struct tg_stream *sink = relay->side[1 - i];
    /* At the very end closing does; but a layer may hold bytes that are not sent yet. */
    bool last = other->done || !sink->half_close;
    int code = last && (!sink->half_close || tg_stream_is_said(sink)) ? 0 : tg_stream_shutdown(sink);
    if (code == TG_AGAIN)
        return STEP_WAIT;
    if (last) {
        finish(relay, NULL, false, !relay->begun);
        return STEP_OVER;
    }
    if (code < 0)
        return lose_sink(relay, i);
    f->done = true;
    relay->active = relay->r->now; /* lingering begins here */
    if (relay->options != NULL && relay->options->linger > 0)
        tg_timer_start(relay->r, &relay->timer, relay->options->linger);
    return STEP_WAIT;
}

static enum step step(struct tg_relay *relay, int i)
{
    struct flow *f = &relay->flow[i];
    if (f->stuck != NULL)
        return write_stuck(relay, i);
    if (f->pipe != NULL && f->pipe->held > 0)
        return drain_pipe(relay, i);
    if (f->ended)
        return pass_end(relay, i);
    return splicing(relay, i) ? fill_pipe(relay, i) : copy_chunk(relay, i);
}

/* What has no descriptor at its bottom is carried by a session. */
static bool is_shared(const struct tg_stream *s)
{
    while (s->lower != NULL)
        s = s->lower;
    return s->ops->fd == NULL;
}

/* Move what can be moved.  @return false: the relay is gone */
static bool pump(struct tg_relay *relay, int i)
{
    struct flow *f = &relay->flow[i];
    bool shared = is_shared(relay->side[0]) || is_shared(relay->side[1]);
    uint64_t until = f->bytes + (shared ? SHARED_BUDGET : BUDGET);
    enum step s = STEP_ON;
    if (f->done || relay->side[i]->state == TG_STREAM_OPENING ||
        relay->side[1 - i]->state == TG_STREAM_OPENING)
        return true;
    while (s == STEP_ON && f->bytes < until)
        s = step(relay, i);
    if (s == STEP_OVER)
        return false;
    if (s == STEP_LOST)
        return pump(relay, 1 - i); /* nothing announces what was kept */
    if (s == STEP_WAIT && f->pipe != NULL && f->pipe->held == 0)
        leave_splice(relay, f); /* borrowed only while bytes are under way; `busy` stays */
    return true;
}

static bool has_backlog(const struct flow *f)
{
    return holds_bytes(f) || (f->ended && !f->done);
}

static unsigned wants_of(const struct tg_relay *relay, int i)
{
    const struct flow *in = &relay->flow[i], *out = &relay->flow[1 - i];
    if (relay->side[i]->state == TG_STREAM_OPENING)
        return TG_WRITABLE;
    unsigned events = 0;
    if (!in->ended && !in->held_back && !has_backlog(in) &&
        relay->side[1 - i]->state != TG_STREAM_OPENING)
        events |= TG_READABLE;
    if (has_backlog(out) || (out->held_back && !out->ended))
        events |= TG_WRITABLE;
    return events;
}

static void update_wants(struct tg_relay *relay)
{
    tg_stream_want(relay->side[0], wants_of(relay, 0));
    tg_stream_want(relay->side[1], wants_of(relay, 1));
}

static void on_ready(struct tg_relay *relay, int i, unsigned events)
{
    if (relay->side[i]->state == TG_STREAM_FAILED && relay->side[i]->ahead == NULL &&
        !has_backlog(&relay->flow[i])) {
        fail(relay, i);
        return;
    }
    bool opened = relay->flow[0].bytes + relay->flow[1].bytes == 0;
    if (((events & TG_READABLE) || opened) && !pump(relay, i))
        return;
    if (((events & TG_WRITABLE) || opened) && !pump(relay, 1 - i))
        return;
    relay->side[0] = tg_stream_peel(relay->side[0]);
    relay->side[1] = tg_stream_peel(relay->side[1]);
    update_wants(relay);
}

static void on_ready_a(void *arg, unsigned events)
{
    on_ready(arg, 0, events);
}

static void on_ready_b(void *arg, unsigned events)
{
    on_ready(arg, 1, events);
}

/* Silence is measured when the timer runs out, not with every byte. */
static void on_timer(void *arg)
{
    struct tg_relay *relay = arg;
    const struct tg_relay_options *o = relay->options;
    bool lingering = relay->flow[0].done || relay->flow[1].done;
    uint32_t most = o->idle;
    if (lingering && o->linger > 0 && (most == 0 || o->linger < most))
        most = o->linger;
    if (most == 0)
        return;
    uint64_t silent = relay->r->now - relay->active;
    if (silent < most) {
        tg_timer_start(relay->r, &relay->timer, most - silent);
        return;
    }
    struct tg_error err;
    tg_error_put(&err, "relay", "relay", TG_TIMEOUT,
                 lingering ? "silent after one side had finished" : "idle for too long");
    finish(relay, &err, false, false);
}

/* Has it something to say that no readiness will tell of? */
static bool is_unannounced(const struct tg_stream *s)
{
    return s->ahead != NULL || s->eof || s->state == TG_STREAM_FAILED;
}

struct tg_relay *tg_relay_start(struct tg_relay_list *list, struct tg_stream *a,
                                struct tg_stream *b, struct tg_relay_options *options,
                                tg_relay_done done, void *arg)
{
    struct tg_relay *relay = tg_zalloc(sizeof(*relay));
    relay->list = list;
    relay->r = a->reactor;
    relay->options = tg_relay_options_hold(options);
    relay->side[0] = a;
    relay->side[1] = b;
    relay->started = relay->active = relay->r->now;
    relay->done = done;
    relay->arg = arg;
    relay->timer.cb = on_timer;
    relay->timer.arg = relay;
    relay->next = list->first;
    relay->link = &list->first;
    if (relay->next != NULL)
        relay->next->link = &relay->next;
    list->first = relay;
    joined(list);

    if (options != NULL && options->meter != NULL)
        tg_stream_add_meter(a, options->meter);
    a->on_ready = on_ready_a;
    b->on_ready = on_ready_b;
    a->ready_arg = b->ready_arg = relay;
    if (options != NULL && options->idle > 0)
        tg_timer_start(relay->r, &relay->timer, options->idle);
    if ((is_unannounced(a) && !pump(relay, 0)) || (is_unannounced(b) && !pump(relay, 1)))
        return relay;
    relay->begun = true;
    update_wants(relay);
    return relay;
}

void tg_relay_cut(struct tg_relay *relay, enum tg_code code, const char *detail)
{
    struct tg_error err;
    tg_error_put(&err, "relay", "relay", code, detail);
    finish(relay, &err, false, true);
}

void tg_relay_peek(const struct tg_relay *relay, struct tg_relay_result *out)
{
    *out = (struct tg_relay_result){
        .up = relay->flow[0].bytes,
        .down = relay->flow[1].bytes,
        .duration = relay->r->now - relay->started,
    };
}

struct tg_relay *tg_relay_next(const struct tg_relay *relay)
{
    return relay->next;
}

void *tg_relay_arg(const struct tg_relay *relay)
{
    return relay->arg;
}

tg_relay_done tg_relay_done_of(const struct tg_relay *relay)
{
    return relay->done;
}
