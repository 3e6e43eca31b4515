#include "session/h2_core.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define READ_CHUNK 65536u
#define PARTS_OFFERED 16        /* of the user's, in one call */
#define FREE_WINDOW 524288u /* windows grow to this without a reason but being used */
#define BUSY_MS 1000u       /* used up in such a time, that is */
#define GATHER_PART 2048u /* a write that is not longer goes out with all others of its turn */

/* --- readiness ---------------------------------------------------------------------------- */

static bool is_lost(const struct tg_h2_stream *st)
{
    return st->session == NULL || st->session->base.dead;
}

/* No bytes will come, or none will be taken. */
static bool is_over(const struct tg_h2_stream *st)
{
    return st->closed || is_lost(st);
}

static unsigned ready_of(const struct tg_h2_stream *st)
{
    unsigned events = 0;
    const struct tg_h2_words *w = st->words;
    bool head = st->awaits_heads && w != NULL && (w->headers != NULL || w->interims != NULL);
    if (st->in.first != NULL || st->fin_received || st->refused || is_over(st) || head)
        events |= TG_READABLE;
    if (is_over(st))
        events |= TG_WRITABLE;
    return events & st->wanted;
}

static void tell_of_header(struct tg_h2_stream *st)
{
    struct tg_h2_words *w = st->words;
    if (w == NULL || w->on_headers == NULL || !(st->complete || is_over(st)))
        return;
    tg_h2_headers_cb cb = w->on_headers;
    w->on_headers = NULL;
    cb(w->headers_arg, &st->base); /* may let go of the words */
}

static void tell_of_end(struct tg_h2_stream *st)
{
    struct tg_h2_words *w = st->words;
    if (w == NULL || w->on_over == NULL || !is_over(st))
        return;
    tg_h2_headers_cb cb = w->on_over;
    w->on_over = NULL;
    cb(w->over_arg, &st->base);
}

/* Headers, reading and failing are told here; writing comes by turns. */
static void on_defer(void *arg)
{
    struct tg_h2_stream *st = arg;
    tell_of_header(st);
    tell_of_end(st);
    unsigned events = ready_of(st);
    if (events == 0)
        return;
    tg_defer(st->base.reactor, &st->defer); /* level-triggered: again next turn */
    tg_stream_ready(&st->base, events);
}

void tg_h2_stream_check(struct tg_h2_stream *st)
{
    if (ready_of(st) != 0)
        tg_defer(st->base.reactor, &st->defer);
}

void tg_h2_stream_header_over(struct tg_h2_stream *st)
{
    if (st->words != NULL && (st->words->on_headers != NULL || st->words->on_over != NULL))
        tg_defer(st->base.reactor, &st->defer);
}

void tg_h2_on_headers(struct tg_stream *s, tg_h2_headers_cb cb, void *arg)
{
    struct tg_h2_stream *st = (struct tg_h2_stream *)s;
    struct tg_h2_words *w = tg_h2_stream_words(st);
    w->on_headers = cb;
    w->headers_arg = arg;
}

void tg_h2_on_over(struct tg_stream *s, tg_h2_headers_cb cb, void *arg)
{
    struct tg_h2_stream *st = (struct tg_h2_stream *)s;
    struct tg_h2_words *w = tg_h2_stream_words(st);
    w->on_over = cb;
    w->over_arg = arg;
    if (cb != NULL && is_over(st))
        tg_defer(s->reactor, &st->defer);
}

/* --- turns ---------------------------------------------------------------------------------- */

size_t tg_h2_stream_window(const struct tg_h2_stream *st)
{
    nghttp2_session *ng = st->session->ng;
    int32_t all = nghttp2_session_get_remote_window_size(ng);
    int32_t one = nghttp2_session_get_stream_remote_window_size(ng, st->id);
    if (one < 0) /* the request is not out yet: what the peer grants new streams */
        one = (int32_t)nghttp2_session_get_remote_settings(ng, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE);
    if (all <= 0)
        st->session->starved = true;
    int32_t least = one < all ? one : all;
    return least > 0 ? (size_t)least : 0;
}

void tg_h2_leave_turns(struct tg_h2_stream *st)
{
    struct tg_h2 *h = st->session;
    if (st->turn_link == NULL || st->waiting)
        return;
    *st->turn_link = st->turn_next;
    if (st->turn_next != NULL)
        st->turn_next->turn_link = st->turn_link;
    else
        h->turns_last = st->turn_link;
    st->turn_link = NULL;
    h->turn_count--;
}

void tg_h2_join_turns(struct tg_h2_stream *st)
{
    struct tg_h2 *h = st->session;
    if (st->turn_link == NULL) {
        st->turn_next = NULL;
        st->turn_link = h->turns_last;
        *h->turns_last = st;
        h->turns_last = &st->turn_next;
        h->turn_count++;
    }
    tg_h2_stir(h);
}

/* --- errors ----------------------------------------------------------------------------------- */

static enum tg_code code_of_reset(uint32_t code)
{
    switch (code) {
    case NGHTTP2_REFUSED_STREAM:
        return TG_BUSY;
    case NGHTTP2_ENHANCE_YOUR_CALM:
        return TG_LIMIT;
    case NGHTTP2_INADEQUATE_SECURITY:
        return TG_TLS;
    case NGHTTP2_PROTOCOL_ERROR:
    case NGHTTP2_HTTP_1_1_REQUIRED:
        return TG_PROTOCOL;
    default:
        return TG_RESET;
    }
}

static void explain(const struct tg_h2_stream *st, const char *op, struct tg_error *err)
{
    const char *detail = "the session is closed";
    enum tg_code code = TG_RESET;
    if (st->closed) {
        code = code_of_reset(st->code);
        detail = st->code == NGHTTP2_CANCEL ? "the peer cancelled the stream"
                                            : nghttp2_http2_strerror(st->code);
    } else if (st->session != NULL) {
        const struct tg_error *why = &st->session->base.error;
        if (why->code != TG_EOF)
            code = why->code;
        detail = why->detail != NULL ? why->detail : "the connection beneath failed";
    }
    tg_error_put(err, "h2", op, code, detail);
}

static int break_off(struct tg_h2_stream *st, const char *op)
{
    struct tg_error err;
    explain(st, op, &err);
    return tg_stream_break(&st->base, op, err.code, err.detail);
}

bool tg_h2_is_over(const struct tg_stream *s, struct tg_error *err)
{
    const struct tg_h2_stream *st = (const struct tg_h2_stream *)s;
    if (!is_over(st))
        return false;
    explain(st, "response", err);
    return true;
}

/* --- reading ------------------------------------------------------------------------------------ */

void tg_h2_stream_take(struct tg_h2_stream *st, const uint8_t *data, size_t len)
{
    st->held += (uint32_t)len;
    tg_h2_hold(st->session, (int32_t)len);
    tg_bufs_add(&st->base.reactor->pool, &st->in, data, len, READ_CHUNK);
    tg_h2_stream_check(st);
}

/* The reader keeps up with a sender who waits for us: let more be under way.  A sender that is not held up
 * by the window takes longer for it than a round trip; what is under way beyond that only lies in front of
 * other streams' bytes. */
static void grow_window(struct tg_h2_stream *st)
{
    struct tg_h2 *h = st->session;
    uint32_t now = (uint32_t)st->base.reactor->now, took = now - st->looked;
    bool known = h->rtt > 1; /* the clock cannot tell less */
    bool held_up = st->window < FREE_WINDOW ? took < BUSY_MS : known && took <= 2 * h->rtt;
    st->passed = 0;
    st->looked = now;
    if (!held_up || st->window >= h->options.max_window)
        return;
    uint32_t window = st->window * 2;
    if (window > h->options.max_window)
        window = h->options.max_window;
    if (nghttp2_session_set_local_window_size(h->ng, NGHTTP2_FLAG_NONE, st->id,
                                              (int32_t)window) == 0)
        st->window = window;
}

static void note_consumed(struct tg_h2_stream *st, size_t n)
{
    struct tg_h2 *h = st->session;
    st->held -= (uint32_t)n;
    if (h != NULL)
        tg_h2_hold(h, -(int32_t)n);
    if (is_lost(st))
        return;
    if (!st->closed && !st->fin_received) {
        nghttp2_session_consume_stream(h->ng, st->id, n);
        st->passed += (uint32_t)n;
        if (st->passed >= st->window)
            grow_window(st);
    }
    if (nghttp2_session_want_write(h->ng))
        tg_h2_stir(h);
}

/* Has the peer said all it had to say?  gost's clients end with a reset alone. */
static bool ended_well(const struct tg_h2_stream *st)
{
    if (st->fin_received)
        return true;
    bool client = st->session == NULL || st->session->options.client;
    return st->closed && (st->code == NGHTTP2_NO_ERROR || (st->code == NGHTTP2_CANCEL && !client));
}

static ssize_t stream_read(struct tg_stream *s, void *buf, size_t len)
{
    struct tg_h2_stream *st = (struct tg_h2_stream *)s;
    if (st->refused)
        return tg_stream_break(s, "request", TG_PROTOCOL, tg_h2_refusal(st->refusal));
    size_t n = tg_bufs_take(&s->reactor->pool, &st->in, buf, len);
    if (n > 0) {
        note_consumed(st, n);
        return (ssize_t)n;
    }
    if (ended_well(st))
        return 0;
    return is_over(st) ? break_off(st, "read") : TG_AGAIN;
}

/* --- writing ------------------------------------------------------------------------------------- */

bool tg_h2_stream_pull(struct tg_h2_stream *st)
{
    static const nghttp2_data_provider from = { .read_callback = tg_h2_pull };
    nghttp2_session *ng = st->session->ng;
    if (st->pulling)
        nghttp2_session_resume_data(ng, st->id);
    else
        st->pulling = nghttp2_submit_data(ng, NGHTTP2_FLAG_END_STREAM, st->id, &from) == 0;
    return st->pulling;
}

static void pump(struct tg_h2 *h, bool gathering)
{
    h->gathering = gathering;
    tg_h2_pump(h);
    h->gathering = false;
}

/* Let the library make frames of what is offered.  @return bytes taken */
static size_t offer(struct tg_h2_stream *st, const struct iovec *iov, size_t most)
{
    struct tg_h2 *h = st->session;
    if (!tg_h2_stream_pull(st)) {
        pump(h, true); /* the header first */
        if (is_over(st) || !tg_h2_stream_pull(st))
            return 0;
    }
    h->offer = (struct tg_h2_offer){ .stream = st, .iov = iov, .left = most };
    pump(h, most <= GATHER_PART);
    most -= h->offer.left;
    h->offer = (struct tg_h2_offer){ .stream = NULL };
    return most;
}

static ssize_t stream_writev(struct tg_stream *s, const struct iovec *iov, int count)
{
    struct tg_h2_stream *st = (struct tg_h2_stream *)s;
    struct tg_h2 *h = st->session;
    if (count > PARTS_OFFERED)
        count = PARTS_OFFERED;
    size_t most = tg_iov_total(iov, count);
    if (st->closed && st->code == NGHTTP2_NO_ERROR)
        return (ssize_t)most; /* the peer has enough, RFC 9113 8.1; its answer is still to be read */
    if (is_over(st))
        return break_off(st, "write");
    if (st->fin_queued || !st->answered || st->id == 0)
        return tg_stream_break(s, "write", TG_INVALID,
                               st->answered ? "it has ended" : "no response was sent");
    size_t window = tg_h2_stream_window(st);
    if (window == 0)
        return TG_AGAIN; /* WINDOW_UPDATE wakes it */
    bool others = h->turn_count > (st->turn_link != NULL);
    if (h->blocked || (others && !st->turn)) {
        if (st->wanted & TG_WRITABLE)
            tg_h2_join_turns(st);
        return TG_AGAIN;
    }
    st->turn = false;
    if (most > window)
        most = window;
    if (most > TG_H2_TURN)
        most = TG_H2_TURN;
    size_t taken = most == 0 ? 0 : offer(st, iov, most);
    if (taken > 0 || most == 0) {
        if (h->blocked)
            tg_h2_update_wants(h);
        return (ssize_t)taken;
    }
    if (is_over(st))
        return break_off(st, "write");
    if (h->blocked)
        tg_h2_update_wants(h);
    if (st->wanted & TG_WRITABLE)
        tg_h2_join_turns(st);
    return TG_AGAIN;
}

static int stream_shutdown(struct tg_stream *s)
{
    struct tg_h2_stream *st = (struct tg_h2_stream *)s;
    if (is_over(st))
        return 0;
    if (!st->answered)
        return tg_stream_break(s, "shutdown", TG_INVALID, "no response was sent");
    st->fin_queued = true;
    tg_h2_stream_pull(st); /* or when its header is out */
    tg_h2_stir(st->session);
    return 0;
}

static void stream_want(struct tg_stream *s, unsigned events)
{
    struct tg_h2_stream *st = (struct tg_h2_stream *)s;
    st->wanted = (uint8_t)events;
    tg_h2_stream_check(st);
    if (is_over(st))
        return;
    if (!(events & TG_WRITABLE))
        tg_h2_leave_turns(st);
    else if (tg_h2_stream_window(st) > 0)
        tg_h2_join_turns(st);
}

/* --- the end ---------------------------------------------------------------------------------------- */

static void leave_queue(struct tg_h2_stream *st)
{
    struct tg_h2 *h = st->session;
    if (!st->waiting)
        return;
    *st->turn_link = st->turn_next;
    if (st->turn_next != NULL)
        st->turn_next->turn_link = st->turn_link;
    else
        h->accept_last = st->turn_link;
    st->turn_link = NULL;
    st->waiting = false;
}

void tg_h2_stream_part(struct tg_h2_stream *st)
{
    struct tg_h2 *h = st->session;
    if (h == NULL)
        return;
    leave_queue(st);
    tg_h2_leave_turns(st);
    tg_h2_hold(h, -(int32_t)st->held);
    if (!st->closed && st->id > 0)
        nghttp2_session_set_stream_user_data(h->ng, st->id, NULL);
    if (!st->closed)
        h->open--;
    *st->link = st->next;
    if (st->next != NULL)
        st->next->link = st->link;
    h->base.streams--;
    h->left -= st->left;
    h->deserted = h->base.reactor->now;
    st->session = NULL;
    tg_h2_stir(h);
}

static void drop_input(struct tg_h2_stream *st)
{
    tg_bufs_clear(&st->base.reactor->pool, &st->in);
}

struct tg_h2_words *tg_h2_stream_words(struct tg_h2_stream *st)
{
    if (st->words == NULL)
        st->words = tg_zalloc(sizeof(*st->words));
    return st->words;
}

void tg_h2_stream_trim(struct tg_h2_stream *st)
{
    const struct tg_h2_words *w = st->words;
    if (w == NULL || w->headers != NULL || w->trailers != NULL || w->last_words != NULL ||
        w->interims != NULL || w->on_headers != NULL || w->on_over != NULL)
        return;
    free(st->words);
    st->words = NULL;
}

static void drop_words(struct tg_h2_stream *st)
{
    if (st->words == NULL)
        return;
    for (struct tg_h2_block *b; (b = tg_h2_next_interim(&st->base)) != NULL;)
        free(b);
    free(st->words->headers);
    free(st->words->trailers);
    free(st->words->last_words);
    free(st->words);
}

void tg_h2_stream_free(struct tg_h2_stream *st)
{
    tg_defer_cancel(st->base.reactor, &st->defer);
    drop_input(st);
    drop_words(st);
    free(st);
}

void tg_h2_reset(struct tg_stream *s, uint32_t code)
{
    const struct tg_h2_stream *st = (const struct tg_h2_stream *)s;
    if (is_over(st) || st->id == 0)
        return;
    nghttp2_submit_rst_stream(st->session->ng, NGHTTP2_FLAG_NONE, st->id, code);
    tg_h2_stir(st->session);
}

/* Its end must go out before it is forgotten: it stays without a user until then. */
static void make_orphan(struct tg_h2_stream *st)
{
    struct tg_h2 *h = st->session;
    st->orphan = true;
    st->wanted = 0;
    tg_h2_leave_turns(st);
    tg_defer_cancel(st->base.reactor, &st->defer);
    tg_h2_hold(h, -(int32_t)st->held);
    st->held = 0;
    drop_input(st);
    tg_h2_stir(h);
}

static void stream_close(struct tg_stream *s)
{
    struct tg_h2_stream *st = (struct tg_h2_stream *)s;
    struct tg_h2_words *w = st->words;
    if (w != NULL) {
        tg_h2_headers_cb cb = w->on_headers, over = w->on_over;
        w->on_headers = w->on_over = NULL;
        if (cb != NULL)
            cb(w->headers_arg, NULL);
        if (over != NULL)
            over(w->over_arg, NULL);
    }
    if (!is_over(st)) {
        if (st->left || (st->fin_queued && !st->fin_sent)) {
            make_orphan(st);
            return;
        }
        bool content = st->fin_sent && !st->session->options.client;
        tg_h2_reset(s, content ? NGHTTP2_NO_ERROR : NGHTTP2_CANCEL);
    }
    tg_h2_stream_part(st);
    tg_h2_stream_free(st);
}

void tg_h2_leave(struct tg_stream *s)
{
    struct tg_h2_stream *st = (struct tg_h2_stream *)s;
    if (is_over(st) || !st->fin_sent || st->session->left >= TG_H2_LEFT) {
        tg_stream_close(s);
        return;
    }
    st->left = true;
    st->session->left++;
    tg_stream_close(s);
}

static int stream_name(const struct tg_stream *s, bool peer, struct sockaddr_storage *out,
                       socklen_t *len)
{
    const struct tg_h2_stream *st = (const struct tg_h2_stream *)s;
    return st->session == NULL ? TG_CLOSED
                               : tg_stream_name(st->session->base.lower, peer, out, len);
}

static const struct tg_stream_ops stream_ops = {
    .name = "h2",
    .read = stream_read,
    .writev = stream_writev,
    .shutdown = stream_shutdown,
    .want = stream_want,
    .close = stream_close,
    .name_of = stream_name,
};

struct tg_h2_stream *tg_h2_stream_new(struct tg_h2 *h, int32_t id)
{
    struct tg_h2_stream *st = tg_zalloc(sizeof(*st));
    st->base.ops = &stream_ops;
    st->base.reactor = h->base.reactor;
    st->base.state = TG_STREAM_OPEN;
    st->base.half_close = true;
    st->session = h;
    st->id = id;
    st->window = h->options.window;
    st->looked = (uint32_t)h->base.reactor->now;
    st->defer.cb = on_defer;
    st->defer.arg = st;
    st->next = h->all;
    if (h->all != NULL)
        h->all->link = &st->next;
    st->link = &h->all;
    h->all = st;
    h->base.streams++;
    return st;
}

/* --- headers ------------------------------------------------------------------------------------------ */

bool tg_h2_is_stream(const struct tg_stream *s)
{
    return s->ops == &stream_ops;
}

const struct tg_h2_block *tg_h2_headers(const struct tg_stream *s)
{
    const struct tg_h2_stream *st = (const struct tg_h2_stream *)s;
    return st->complete && st->words != NULL ? st->words->headers : NULL;
}

const struct tg_h2_block *tg_h2_trailers(const struct tg_stream *s)
{
    const struct tg_h2_stream *st = (const struct tg_h2_stream *)s;
    return st->words != NULL ? st->words->trailers : NULL;
}

void tg_h2_stream_add_interim(struct tg_h2_stream *st, struct tg_h2_block *b)
{
    struct tg_h2_words *w = tg_h2_stream_words(st);
    struct tg_h2_block **last = &w->interims;
    if (!st->awaits_heads || w->interim_count == TG_H2_INTERIMS) {
        free(b);
        tg_h2_stream_trim(st);
        return;
    }
    while (*last != NULL)
        last = &(*last)->next;
    *last = b;
    w->interim_count++;
    tg_h2_stream_check(st);
}

struct tg_h2_block *tg_h2_next_interim(struct tg_stream *s)
{
    struct tg_h2_stream *st = (struct tg_h2_stream *)s;
    struct tg_h2_words *w = st->words;
    struct tg_h2_block *b = w != NULL ? w->interims : NULL;
    if (b != NULL) {
        w->interims = b->next;
        w->interim_count--;
    }
    return b;
}

void tg_h2_await_heads(struct tg_stream *s)
{
    ((struct tg_h2_stream *)s)->awaits_heads = true;
}

void tg_h2_expect_ok(struct tg_stream *s)
{
    ((struct tg_h2_stream *)s)->expects = true;
}

void tg_h2_forget_headers(struct tg_stream *s)
{
    struct tg_h2_stream *st = (struct tg_h2_stream *)s;
    if (st->words == NULL)
        return;
    free(st->words->headers);
    st->words->headers = NULL;
    tg_h2_stream_trim(st);
}

static const struct {
    char status[4]; /* empty: any */
    const char *words;
} refusals[] = {
    { "", "the server does not answer 200" },
    { "400", "the server answers 400: the path may differ" },
    { "403", "the server answers 403: forbidden" },
    { "404", "the server answers 404: the path may differ" },
    { "405", "the server answers 405: it may expect a path" },
    { "407", "the server answers 407: it is a proxy that wants credentials" },
    { "502", "the server answers 502: it does not reach what is behind it" },
    { "503", "the server answers 503: it does not reach what is behind it" },
    { "504", "the server answers 504: what is behind it does not answer" },
};

uint8_t tg_h2_judge(const struct tg_h2_field *status)
{
    for (uint8_t i = 1; status != NULL && i < tg_countof(refusals); i++)
        if (memcmp(status->value, refusals[i].status, 3) == 0)
            return i;
    return 0;
}

const char *tg_h2_refusal(uint8_t number)
{
    return refusals[number].words;
}
