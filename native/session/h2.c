#include "session/h2_core.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* --- the end ------------------------------------------------------------------------------- */

void tg_h2_die_of(struct tg_h2 *h, const struct tg_error *why)
{
    if (h->base.dead)
        return;
    h->base.dead = true;
    h->base.error = *why;
    tg_stream_want(h->base.lower, 0);
    tg_timer_stop(h->base.reactor, &h->timer);
    for (struct tg_h2_stream *st = h->all; st != NULL; st = st->next) {
        tg_h2_stream_header_over(st);
        tg_h2_stream_check(st);
    }
    tg_defer(h->base.reactor, &h->event);
}

void tg_h2_die(struct tg_h2 *h, enum tg_code code, const char *detail)
{
    struct tg_error why;
    tg_error_put(&why, "h2", "session", code, detail);
    tg_h2_die_of(h, &why);
}

void tg_h2_blame(struct tg_h2 *h, enum tg_code code, const char *detail)
{
    if (h->violation.code == TG_OK)
        tg_error_put(&h->violation, "h2", "session", code, detail);
}

/* Say goodbye and end. */
static void finish(struct tg_h2 *h, uint32_t error_code)
{
    if (h->base.dead)
        return;
    nghttp2_session_terminate_session(h->ng, error_code);
    tg_h2_pump(h);
    if (h->violation.code != TG_OK)
        tg_h2_die_of(h, &h->violation);
    tg_h2_die(h, TG_EOF, "the session is over");
}

/* --- what is due later in a turn ------------------------------------------------------------------ */

/* Where there is nothing left to say or to hear. */
static void look_for_end(struct tg_h2 *h)
{
    if (h->base.dead)
        return;
    if (h->violation.code != TG_OK)
        finish(h, NGHTTP2_ENHANCE_YOUR_CALM);
    else if (nghttp2_session_want_read(h->ng) == 0 && nghttp2_session_want_write(h->ng) == 0)
        tg_h2_die(h, TG_EOF, "the session is over");
    else if (h->draining && h->all == NULL)
        finish(h, NGHTTP2_NO_ERROR);
}

/* Give the pen to who waits longest. */
static void on_work(void *arg)
{
    struct tg_h2 *h = arg;
    tg_h2_pump(h);
    look_for_end(h);
    tg_h2_update_wants(h);
    while (!h->base.dead && !h->blocked && h->turns != NULL) {
        struct tg_h2_stream *st = h->turns;
        tg_h2_leave_turns(st);
        if (!(st->wanted & TG_WRITABLE) || tg_h2_stream_window(st) == 0)
            continue;
        tg_h2_join_turns(st); /* at the end, and with that the next turn is arranged */
        st->turn = true;
        tg_stream_ready(&st->base, TG_WRITABLE);
        return;
    }
}

static void on_lower(void *arg, unsigned events)
{
    struct tg_h2 *h = arg;
    if (h->base.dead)
        return;
    if (events & TG_WRITABLE)
        h->blocked = false;
    if (events & (TG_READABLE | TG_HANGUP))
        tg_h2_receive(h);
    tg_h2_stir(h);
    tg_h2_update_wants(h);
}

static void on_event(void *arg)
{
    struct tg_h2 *h = arg;
    if (h->base.on_event != NULL)
        h->base.on_event(h->base.event_arg);
}

/* --- time --------------------------------------------------------------------------------------- */

#define FIRST_RTT 100u     /* ms, until it was measured */
#define PROBE_AFTER 5000u  /* ms of silence before a new stream that call for a sign of life */
#define PROBE_WAIT  10000u /* ms that are waited for it */

static uint32_t period(const struct tg_h2_options *o)
{
    uint32_t ms = o->keepalive > 0 ? o->keepalive : o->idle;
    if (o->keepalive > 0 && o->timeout < ms)
        ms = o->timeout;
    if (o->idle > 0 && o->idle < ms)
        ms = o->idle;
    return ms;
}

static void start_timer(struct tg_h2 *h)
{
    uint32_t ms = period(&h->options);
    if (h->probed != 0 && (ms == 0 || ms > PROBE_WAIT))
        ms = PROBE_WAIT;
    if (ms > 0)
        tg_timer_start(h->base.reactor, &h->timer, ms);
}

/* A connection may be dead without a word: NAT forgets, machines lose power. */
static void probe(struct tg_h2 *h)
{
    uint64_t now = h->base.reactor->now;
    if (h->probed != 0 || now - h->heard < PROBE_AFTER)
        return;
    nghttp2_submit_settings(h->ng, NGHTTP2_FLAG_NONE, NULL, 0);
    h->probed = now;
    if (h->asked == 0)
        h->asked = now;
    start_timer(h);
}

static bool is_mute(const struct tg_h2 *h, uint64_t since, uint32_t wait)
{
    return since != 0 && h->heard < since && h->base.reactor->now - since >= wait;
}

static void on_timer(void *arg)
{
    struct tg_h2 *h = arg;
    const struct tg_h2_options *o = &h->options;
    uint64_t now = h->base.reactor->now;
    if (is_mute(h, h->pinged, o->timeout) || is_mute(h, h->probed, PROBE_WAIT)) {
        tg_h2_die(h, TG_TIMEOUT, "the peer gives no sign of life");
        return;
    }
    if (o->keepalive > 0 && h->pinged == 0 && now - h->heard >= o->keepalive &&
        (h->open > 0 || o->ping_idle)) {
        nghttp2_submit_ping(h->ng, NGHTTP2_FLAG_NONE, NULL);
        h->pinged = now;
        tg_h2_stir(h);
    }
    if (o->idle > 0 && h->all == NULL && now - h->deserted >= o->idle)
        tg_h2_drain(&h->base);
    start_timer(h);
}

/* --- the session as its user sees it -------------------------------------------------------------- */

bool tg_h2_is_draining(const struct tg_session *s)
{
    return s->dead || ((const struct tg_h2 *)s)->draining;
}

void tg_h2_drain(struct tg_session *s)
{
    struct tg_h2 *h = (struct tg_h2 *)s;
    if (s->dead || h->draining)
        return;
    h->draining = true;
    if (!h->options.client)
        nghttp2_submit_goaway(h->ng, NGHTTP2_FLAG_NONE,
                              nghttp2_session_get_last_proc_stream_id(h->ng), NGHTTP2_NO_ERROR,
                              NULL, 0);
    tg_h2_stir(h);
}

unsigned tg_h2_room(const struct tg_session *s)
{
    const struct tg_h2 *h = (const struct tg_h2 *)s;
    if (tg_h2_is_draining(s) || !nghttp2_session_check_request_allowed(h->ng))
        return 0;
    uint32_t limit = nghttp2_session_get_remote_settings(
        h->ng, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    if (limit > h->options.max_streams)
        limit = h->options.max_streams;
    return h->open < limit ? limit - h->open : 0;
}

static uint32_t connection_window(const struct tg_h2_options *o)
{
    return o->session_window / 2;
}

void tg_h2_hold(struct tg_h2 *h, int32_t n)
{
    h->held += (uint32_t)n;
    if (n > 0)
        h->owed += (uint32_t)n;
    if (h->owed == 0 || h->base.dead || h->closing ||
        h->held > h->options.session_window - connection_window(&h->options))
        return;
    nghttp2_session_consume_connection(h->ng, h->owed);
    h->owed = 0;
}

bool tg_h2_is_greeted(const struct tg_session *s)
{
    return ((const struct tg_h2 *)s)->greeted;
}

bool tg_h2_takes_connect_protocol(const struct tg_session *s)
{
    const struct tg_h2 *h = (const struct tg_h2 *)s;
    return !s->dead && nghttp2_session_get_remote_settings(
                           h->ng, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1;
}

uint64_t tg_h2_silence(const struct tg_session *s)
{
    return s->reactor->now - ((const struct tg_h2 *)s)->heard;
}

unsigned tg_h2_refusals(const struct tg_session *s)
{
    return ((const struct tg_h2 *)s)->refusals;
}

/* A password must not stay in the peer's table of fields. */
static bool is_secret(const struct tg_h2_field *f)
{
    return (f->name_len == 13 && strncasecmp(f->name, "authorization", 13) == 0) ||
           (f->name_len == 19 && strncasecmp(f->name, "proxy-authorization", 19) == 0);
}

static void put_fields(nghttp2_nv *nv, const struct tg_h2_field *fields, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        nv[i] = (nghttp2_nv){
            .name = (uint8_t *)fields[i].name,
            .value = (uint8_t *)fields[i].value,
            .namelen = fields[i].name_len,
            .valuelen = fields[i].value_len,
            .flags = is_secret(&fields[i]) ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE,
        };
}

struct tg_stream *tg_h2_prepare(struct tg_session *s, struct tg_error *err)
{
    struct tg_h2 *h = (struct tg_h2 *)s;
    if (s->dead) {
        *err = s->error;
        return NULL;
    }
    if (h->draining || !h->options.client) {
        tg_error_put(err, "h2", "open", TG_CLOSED, "the session takes no more streams");
        return NULL;
    }
    if (tg_h2_room(s) == 0) {
        tg_error_put(err, "h2", "open", TG_LIMIT, "too many streams");
        return NULL;
    }
    struct tg_h2_stream *st = tg_h2_stream_new(h, 0);
    h->open++;
    return &st->base;
}

int tg_h2_begin(struct tg_stream *s, const struct tg_h2_field *fields, unsigned count, bool ended)
{
    struct tg_h2_stream *st = (struct tg_h2_stream *)s;
    struct tg_h2 *h = st->session;
    nghttp2_nv nv[TG_H2_FIELDS];
    if (s->state != TG_STREAM_OPEN)
        return s->error.code;
    if (h == NULL || h->base.dead)
        return tg_session_break(h == NULL ? NULL : &h->base, s, "open");
    if (count > TG_H2_FIELDS)
        return tg_stream_break(s, "open", TG_LIMIT, "too many header fields");
    put_fields(nv, fields, count);
    int32_t id = nghttp2_submit_headers(
        h->ng, ended ? NGHTTP2_FLAG_END_STREAM : NGHTTP2_FLAG_NONE, -1, NULL, nv, count, st);
    if (id < 0) {
        h->draining = true; /* it has no numbers left */
        return tg_stream_break(s, "open", TG_BUSY, nghttp2_strerror(id));
    }
    st->id = id;
    st->looked = (uint32_t)s->reactor->now;
    st->answered = true;
    st->fin_queued = s->shut = ended;
    probe(h);
    tg_h2_stir(h);
    return 0;
}

struct tg_stream *tg_h2_request(struct tg_session *s, const struct tg_h2_field *fields,
                                unsigned count, bool ended, struct tg_error *err)
{
    struct tg_stream *stream = tg_h2_prepare(s, err);
    if (stream == NULL || tg_h2_begin(stream, fields, count, ended) == 0)
        return stream;
    *err = stream->error;
    tg_stream_close(stream);
    return NULL;
}

static struct tg_h2_stream *writable(struct tg_stream *s, unsigned count, int *code)
{
    struct tg_h2_stream *st = (struct tg_h2_stream *)s;
    *code = 0;
    if (s->state != TG_STREAM_OPEN)
        *code = s->error.code;
    else if (count > TG_H2_FIELDS)
        *code = TG_LIMIT;
    else if (st->closed || st->session == NULL || st->session->base.dead)
        *code = tg_stream_break(s, "respond", TG_RESET, "the peer has gone");
    return *code == 0 ? st : NULL;
}

/* A header before the body, the last one or an interim one. */
static int send_head(struct tg_stream *s, const struct tg_h2_field *fields, unsigned count,
                     uint8_t flags)
{
    int code;
    nghttp2_nv nv[TG_H2_FIELDS];
    struct tg_h2_stream *st = writable(s, count, &code);
    if (st == NULL)
        return code;
    if (st->answered)
        return TG_INVALID;
    put_fields(nv, fields, count);
    if (nghttp2_submit_headers(st->session->ng, flags, st->id, NULL, nv, count, NULL) != 0)
        return tg_stream_break(s, "respond", TG_INVALID, "the header cannot be sent");
    tg_h2_stir(st->session);
    return 0;
}

int tg_h2_respond(struct tg_stream *s, const struct tg_h2_field *fields, unsigned count,
                  bool ended)
{
    struct tg_h2_stream *st = (struct tg_h2_stream *)s;
    int code = send_head(s, fields, count, ended ? NGHTTP2_FLAG_END_STREAM : NGHTTP2_FLAG_NONE);
    if (code != 0)
        return code;
    st->answered = true;
    st->fin_queued = s->shut = ended;
    return 0;
}

int tg_h2_inform(struct tg_stream *s, const struct tg_h2_field *fields, unsigned count)
{
    return send_head(s, fields, count, NGHTTP2_FLAG_NONE);
}

int tg_h2_finish(struct tg_stream *s, const struct tg_h2_field *fields, unsigned count)
{
    int code;
    struct tg_h2_stream *st = writable(s, count, &code);
    if (st == NULL)
        return code;
    if (st->fin_queued || !st->answered)
        return TG_INVALID;
    for (unsigned i = 0; i < count; i++)
        if (!tg_h2_block_add(&tg_h2_stream_words(st)->last_words, TG_BUF_LARGE, &fields[i]))
            return TG_LIMIT;
    return tg_stream_shutdown(s);
}

static struct tg_stream *h2_open(struct tg_session *s, struct tg_error *err)
{
    (void)s;
    tg_error_put(err, "h2", "open", TG_INVALID, "a stream of HTTP/2 begins with a request");
    return NULL;
}

static struct tg_stream *h2_accept(struct tg_session *s)
{
    struct tg_h2 *h = (struct tg_h2 *)s;
    struct tg_h2_stream *st = h->accept_first;
    if (st == NULL)
        return NULL;
    st->waiting = false;
    h->accept_first = st->turn_next;
    if (st->turn_next != NULL)
        st->turn_next->turn_link = &h->accept_first;
    else
        h->accept_last = &h->accept_first;
    st->turn_link = NULL;
    return &st->base;
}

static void h2_close(struct tg_session *s)
{
    struct tg_h2 *h = (struct tg_h2 *)s;
    struct tg_stream *waiting;
    while ((waiting = h2_accept(s)) != NULL)
        tg_stream_close(waiting);
    finish(h, NGHTTP2_NO_ERROR);
    h->closing = true;
    while (h->all != NULL) {
        struct tg_h2_stream *st = h->all;
        tg_h2_stream_part(st);
        if (st->orphan || !(h->options.client || st->complete)) {
            tg_h2_stream_free(st); /* nobody else has it */
            continue;
        }
        tg_h2_stream_header_over(st);
        tg_h2_stream_check(st);
    }
    nghttp2_session_del(h->ng);
    tg_timer_stop(s->reactor, &h->timer);
    tg_defer_cancel(s->reactor, &h->work);
    tg_defer_cancel(s->reactor, &h->event);
    tg_buf_put(&s->reactor->pool, h->out);
    tg_stream_close(s->lower);
    free(h);
}

static const struct tg_session_ops h2_ops = {
    .name = "h2",
    .open = h2_open,
    .accept = h2_accept,
    .close = h2_close,
};

static void set_options(struct tg_h2_options *o, const struct tg_h2_options *wanted)
{
    *o = *wanted;
    if (o->max_frame < 16384)
        o->max_frame = 16384;
    if (o->max_frame > 16777215)
        o->max_frame = 16777215;
    if (o->window < 16384)
        o->window = 16384;
    if (o->session_window < 131072)
        o->session_window = 131072;
    if (o->session_window > INT32_MAX)
        o->session_window = INT32_MAX;
    if (o->max_window > connection_window(o))
        o->max_window = connection_window(o);
    if (o->window > o->max_window)
        o->window = o->max_window;
    if (o->max_streams == 0 || o->max_streams > INT32_MAX / 2)
        o->max_streams = INT32_MAX / 2;
}

static void make_session(struct tg_h2 *h)
{
    nghttp2_session_callbacks *callbacks = tg_h2_callbacks();
    nghttp2_option *option;
    if (nghttp2_option_new(&option) != 0)
        abort();
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option, 1);
    /* Tunnels end with a reset as a rule; what is abuse of it is judged in on_frame(). */
    nghttp2_option_set_stream_reset_rate_limit(option, UINT32_MAX, UINT32_MAX);
    int code = h->options.client ? nghttp2_session_client_new2(&h->ng, callbacks, h, option)
                                 : nghttp2_session_server_new2(&h->ng, callbacks, h, option);
    if (code != 0)
        abort();
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
}

/* The first SETTINGS, and the window of the session. */
static void greet(struct tg_h2 *h)
{
    const struct tg_h2_options *o = &h->options;
    nghttp2_settings_entry entries[7] = {
        { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, o->window },
        { NGHTTP2_SETTINGS_MAX_FRAME_SIZE, o->max_frame },
        { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, o->max_headers },
        { NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1 },
    };
    unsigned count = 4;
    if (o->client)
        entries[count++] = (nghttp2_settings_entry){ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 };
    else
        entries[count++] = (nghttp2_settings_entry){ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
                                                     o->max_streams };
    if (!o->client && o->connect_protocol)
        entries[count++] = (nghttp2_settings_entry){ NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1 };
    if (nghttp2_submit_settings(h->ng, NGHTTP2_FLAG_NONE, entries, count) != 0 ||
        nghttp2_session_set_local_window_size(h->ng, NGHTTP2_FLAG_NONE, 0,
                                              (int32_t)connection_window(o)) != 0)
        abort();
}

struct tg_session *tg_h2_start(struct tg_stream *lower, const struct tg_h2_options *options)
{
    struct tg_h2 *h = tg_zalloc(sizeof(*h));
    set_options(&h->options, options);
    h->base.ops = &h2_ops;
    h->base.reactor = lower->reactor;
    h->base.lower = lower;
    h->accept_last = &h->accept_first;
    h->turns_last = &h->turns;
    h->work = (struct tg_defer){ .cb = on_work, .arg = h };
    h->event = (struct tg_defer){ .cb = on_event, .arg = h };
    h->timer = (struct tg_timer){ .cb = on_timer, .arg = h };
    h->rtt = FIRST_RTT;
    h->asked = h->heard = h->deserted = h->tokens_at = lower->reactor->now;
    h->frame_tokens = TG_H2_FRAME_BURST;
    h->reset_tokens = TG_H2_RESET_BURST;
    make_session(h);
    greet(h);
    tg_session_queue_start(&h->base);
    lower->on_ready = on_lower;
    lower->ready_arg = h;
    start_timer(h);
    tg_h2_stir(h);
    tg_h2_update_wants(h);
    /* bytes that were read ahead make no descriptor readable */
    if (lower->ahead != NULL)
        tg_h2_receive(h);
    return &h->base;
}
