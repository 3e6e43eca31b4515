#include "session/h2_core.h"

#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define READ_CHUNK 65536u
#define READ_BUDGET (256u * 1024u) /* bytes taken from below per turn */
#define OUT_MAX (64u * 1024u)      /* unsent bytes above which frames are not taken from the library */
#define QUEUE_MAX 2048u            /* unsent frames above which nothing is read: answers pile up */
#define GATHER_MAX 16384u          /* bytes that may wait for the end of a turn */
#define FRAME_HEAD 9u

/* What a peer may send that moves nothing, in a second. */
#define FRAME_RATE 1000u
/* Requests it may take back before they were answered: CVE-2023-44487. */
#define RESET_RATE 200u

/* --- sending --------------------------------------------------------------------------------- */

static bool keep(struct tg_h2 *h, const void *data, size_t len)
{
    struct tg_pool *pool = &h->base.reactor->pool;
    if (h->out == NULL)
        h->out = tg_buf_get(pool, len);
    if (h->out == NULL || !tg_buf_reserve(pool, &h->out, len)) {
        tg_h2_die(h, TG_BUSY, "out of memory");
        return false;
    }
    memcpy(h->out->data + h->out->end, data, len);
    h->out->end += (uint32_t)len;
    return true;
}

static void drop_kept(struct tg_h2 *h, size_t n)
{
    h->out->start += (uint32_t)n;
    if (tg_buf_len(h->out) == 0) {
        tg_buf_put(&h->base.reactor->pool, h->out);
        h->out = NULL;
    }
}

/* Keep what of the parts did not go out. */
static void keep_rest(struct tg_h2 *h, size_t sent)
{
    for (unsigned i = 1; i < h->part_count && !h->base.dead; i++) {
        const struct iovec *part = &h->parts[i];
        size_t skip = sent < part->iov_len ? sent : part->iov_len;
        if (skip < part->iov_len)
            keep(h, (const uint8_t *)part->iov_base + skip, part->iov_len - skip);
        sent -= skip;
    }
}

static void restart_parts(struct tg_h2 *h)
{
    h->part_count = 1;
    h->frame_count = 0;
    h->part_bytes = 0;
}

/* The connection beneath has ended.  What the peer said of it counts more than how it did. */
static void end_with_lower(struct tg_h2 *h)
{
    const struct tg_error *why = &h->base.lower->error;
    bool failed = h->base.lower->state == TG_STREAM_FAILED;
    bool hung_up = !failed || (why->code == TG_RESET && why->sys != 0); /* else the lower one knows better */
    if (hung_up && h->farewell.code != TG_OK)
        tg_h2_die_of(h, &h->farewell);
    else if (hung_up && h->options.client && !h->greeted && h->base.lower->ahead == NULL)
        tg_h2_die(h, TG_PROTOCOL, "the server hung up without a word; its transport may be another");
    else if (failed)
        tg_h2_die_of(h, why);
    else
        tg_h2_die(h, TG_EOF, "the peer closed the connection");
}

/* Write what was kept, and the parts after it: part 0 is left free for the former. */
static void write_parts(struct tg_h2 *h)
{
    size_t kept = h->out == NULL ? 0 : tg_buf_len(h->out), total = kept + h->part_bytes;
    unsigned first = kept > 0 ? 0 : 1;
    if (total == 0 || h->base.dead)
        return;
    if (h->gathering && total <= GATHER_MAX) {
        keep_rest(h, 0);
        restart_parts(h);
        tg_h2_stir(h);
        return;
    }
    if (kept > 0)
        h->parts[0] = (struct iovec){ h->out->data + h->out->start, kept };
    ssize_t n = tg_stream_writev(h->base.lower, h->parts + first, (int)(h->part_count - first));
    if (n < 0 && n != TG_AGAIN) {
        end_with_lower(h);
        return;
    }
    size_t sent = n > 0 ? (size_t)n : 0;
    h->blocked = sent < total;
    if (kept > 0)
        drop_kept(h, sent < kept ? sent : kept);
    sent -= sent < kept ? sent : kept;
    keep_rest(h, sent);
    restart_parts(h);
}

void tg_h2_pump(struct tg_h2 *h)
{
    struct iovec parts[TG_H2_PARTS];
    uint8_t heads[TG_H2_FRAMES * FRAME_HEAD];
    if (h->base.dead || h->blocked || h->pumping)
        return;
    h->pumping = true;
    h->parts = parts;
    h->heads = heads;
    h->part_count = 1;
    for (;;) {
        const uint8_t *data;
        ssize_t n = nghttp2_session_mem_send(h->ng, &data);
        if (n < 0)
            tg_h2_die(h, TG_BUSY, nghttp2_strerror((int)n));
        if (n <= 0)
            break;
        if (h->frame_count > 0)
            write_parts(h); /* they come before this frame */
        if (h->base.dead || !keep(h, data, (size_t)n))
            break;
        if (tg_buf_len(h->out) >= OUT_MAX)
            write_parts(h);
        if (h->blocked || h->base.dead)
            break;
    }
    write_parts(h);
    h->parts = NULL;
    h->pumping = false;
}

void tg_h2_stir(struct tg_h2 *h)
{
    if (!h->base.dead && !h->blocked)
        tg_defer(h->base.reactor, &h->work);
}

void tg_h2_update_wants(struct tg_h2 *h)
{
    unsigned events = 0;
    if (h->base.dead)
        return;
    h->hungry = nghttp2_session_get_outbound_queue_size(h->ng) > QUEUE_MAX;
    if (!h->hungry)
        events |= TG_READABLE;
    if (h->blocked)
        events |= TG_WRITABLE;
    tg_stream_want(h->base.lower, events);
}

/* --- callbacks of the library: what is to be sent --------------------------------------------- */

static struct tg_h2_stream *stream_of(nghttp2_session *ng, int32_t id)
{
    return nghttp2_session_get_stream_user_data(ng, id);
}

static ssize_t on_frame_size(nghttp2_session *ng, uint8_t type, int32_t id,
                             int32_t session_window, int32_t stream_window, uint32_t max_frame,
                             void *arg)
{
    const struct tg_h2 *h = arg;
    const struct tg_h2_stream *st = stream_of(ng, id);
    size_t most = max_frame < TG_BUF_LARGE ? max_frame : TG_BUF_LARGE;
    (void)type, (void)session_window, (void)stream_window;
    /* The library makes room for what we answer, though nothing is copied there; the windows it
     * looks at itself. */
    if (st == NULL || h->offer.stream != st || h->offer.left == 0)
        return 1; /* an end, at the most */
    return (ssize_t)(h->offer.left < most ? h->offer.left : most);
}

ssize_t tg_h2_pull(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t len, uint32_t *flags,
                       nghttp2_data_source *source, void *arg)
{
    const struct tg_h2 *h = arg;
    struct tg_h2_stream *st = stream_of(ng, id);
    (void)buf, (void)source;
    if (st == NULL)
        return NGHTTP2_ERR_DEFERRED;
    size_t left = h->offer.stream == st ? h->offer.left : 0;
    if (left > 0) {
        if (h->frame_count >= TG_H2_FRAMES)
            return NGHTTP2_ERR_DEFERRED;
        *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
        if (left > len)
            return (ssize_t)len;
        /* That is all for now: the library need not remember the stream as one that sends. */
        *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        st->pulling = false;
        return (ssize_t)left;
    }
    if (!st->fin_queued)
        return NGHTTP2_ERR_DEFERRED;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    st->pulling = false;
    if (st->words != NULL && st->words->last_words != NULL) {
        struct tg_h2_block *last = st->words->last_words;
        nghttp2_nv nv[TG_H2_FIELDS];
        struct tg_h2_field f;
        size_t at = 0, count = 0;
        while (count < TG_H2_FIELDS && tg_h2_block_next(last, &at, &f))
            nv[count++] = (nghttp2_nv){ (uint8_t *)f.name, (uint8_t *)f.value, f.name_len,
                                        f.value_len, NGHTTP2_NV_FLAG_NONE };
        if (nghttp2_submit_trailer(ng, id, nv, count) == 0)
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        free(last);
        st->words->last_words = NULL;
    }
    return 0;
}

/* A DATA frame goes out: its head, and the user's bytes where they are. */
static int on_data(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *head, size_t len,
                   nghttp2_data_source *source, void *arg)
{
    struct tg_h2 *h = arg;
    struct tg_h2_stream *st = stream_of(ng, frame->hd.stream_id);
    (void)source;
    struct tg_h2_offer *o = &h->offer;
    assert(st != NULL && o->stream == st && o->left >= len && h->frame_count < TG_H2_FRAMES);
    uint8_t *copy = h->heads + h->frame_count++ * FRAME_HEAD;
    memcpy(copy, head, FRAME_HEAD);
    h->parts[h->part_count++] = (struct iovec){ copy, FRAME_HEAD };
    h->part_bytes += FRAME_HEAD + len;
    o->left -= len;
    while (len > 0) {
        size_t there = o->iov->iov_len - o->skip;
        size_t n = there < len ? there : len;
        if (n > 0)
            h->parts[h->part_count++] =
                (struct iovec){ (uint8_t *)o->iov->iov_base + o->skip, n };
        assert(h->part_count <= TG_H2_PARTS);
        o->skip += n;
        len -= n;
        if (n == there) {
            o->iov++;
            o->skip = 0;
        }
    }
    return 0;
}

static int on_frame_send(nghttp2_session *ng, const nghttp2_frame *frame, void *arg)
{
    struct tg_h2 *h = arg;
    bool carrier = frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS;
    if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR)
        tg_h2_blame(h, TG_PROTOCOL, h->greeted ? nghttp2_http2_strerror(frame->goaway.error_code)
                                         : "the peer does not speak HTTP/2");
    struct tg_h2_stream *st = carrier ? stream_of(ng, frame->hd.stream_id) : NULL;
    if (st == NULL)
        return 0;
    if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
        if (frame->hd.type == NGHTTP2_HEADERS && st->fin_queued && !st->pulling)
            tg_h2_stream_pull(st); /* shut down before its header was out */
        return 0;
    }
    st->fin_sent = true;
    if (st->orphan && !st->fin_received)
        nghttp2_submit_rst_stream(ng, NGHTTP2_FLAG_NONE, st->id,
                                  h->options.client ? NGHTTP2_CANCEL : NGHTTP2_NO_ERROR);
    return 0;
}

/* A request that waited for its turn when the peer said goodbye: as good as refused. */
static int on_frame_not_send(nghttp2_session *ng, const nghttp2_frame *frame, int code, void *arg)
{
    struct tg_h2_stream *st = NULL;
    (void)code, (void)arg;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        st = stream_of(ng, frame->hd.stream_id);
    if (st != NULL)
        st->unsent = true;
    return 0;
}

/* --- callbacks of the library: what has come --------------------------------------------------- */

static void fill_tokens(struct tg_h2 *h)
{
    uint64_t now = h->base.reactor->now, ms = now - h->tokens_at;
    if (ms < 10)
        return;
    uint64_t frames = h->frame_tokens + ms * FRAME_RATE / 1000;
    uint64_t resets = h->reset_tokens + ms * RESET_RATE / 1000;
    h->frame_tokens = frames < TG_H2_FRAME_BURST ? (uint32_t)frames : TG_H2_FRAME_BURST;
    h->reset_tokens = resets < TG_H2_RESET_BURST ? (uint32_t)resets : TG_H2_RESET_BURST;
    h->tokens_at = now;
}

static void spend(struct tg_h2 *h, uint32_t *tokens, const char *detail)
{
    if (*tokens == 0)
        fill_tokens(h);
    if (*tokens == 0)
        tg_h2_blame(h, TG_LIMIT, detail);
    else
        --*tokens;
}

static bool moves_nothing(const nghttp2_frame_hd *hd)
{
    switch (hd->type) {
    case NGHTTP2_DATA:
        return hd->length == 0 && !(hd->flags & NGHTTP2_FLAG_END_STREAM);
    case NGHTTP2_PING:
    case NGHTTP2_SETTINGS:
        return !(hd->flags & NGHTTP2_FLAG_ACK);
    case NGHTTP2_HEADERS:
    case NGHTTP2_RST_STREAM:
    case NGHTTP2_WINDOW_UPDATE:
    case NGHTTP2_GOAWAY:
        return false;
    default:
        return true; /* PRIORITY, CONTINUATION, and what nobody knows */
    }
}

static int on_begin_frame(nghttp2_session *ng, const nghttp2_frame_hd *hd, void *arg)
{
    struct tg_h2 *h = arg;
    (void)ng;
    if (moves_nothing(hd))
        spend(h, &h->frame_tokens, "the peer floods us with frames that move nothing");
    return h->violation.code == TG_OK ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int refuse(nghttp2_session *ng, int32_t id, uint32_t code)
{
    nghttp2_submit_rst_stream(ng, NGHTTP2_FLAG_NONE, id, code);
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *arg)
{
    struct tg_h2 *h = arg;
    int32_t id = frame->hd.stream_id;
    if (h->options.client || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    /* Streams the peer took back may still be at work here: they count as well. */
    if (h->draining || h->base.streams >= 2 * h->options.max_streams)
        return refuse(ng, id, NGHTTP2_REFUSED_STREAM);
    struct tg_h2_stream *st = tg_h2_stream_new(h, id);
    h->open++;
    nghttp2_session_set_stream_user_data(ng, id, st);
    return 0;
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *arg)
{
    struct tg_h2 *h = arg;
    struct tg_h2_stream *st = stream_of(ng, frame->hd.stream_id);
    struct tg_h2_field field = { (const char *)name, (const char *)value, name_len, value_len };
    (void)flags;
    if (st == NULL || frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    struct tg_h2_words *w = tg_h2_stream_words(st);
    struct tg_h2_block **block = st->complete ? &w->trailers : &w->headers;
    if (!tg_h2_block_add(block, h->options.max_headers, &field))
        return refuse(ng, frame->hd.stream_id, NGHTTP2_ENHANCE_YOUR_CALM);
    return 0;
}

/* A stream that wants nothing but 200. */
static void judge_status(struct tg_h2 *h, struct tg_h2_stream *st)
{
    struct tg_h2_field status;
    bool there = tg_h2_block_find(tg_h2_headers(&st->base), ":status", &status) &&
                 status.value_len == 3;
    st->refused = !there || memcmp(status.value, "200", 3) != 0;
    st->refusal = tg_h2_judge(there ? &status : NULL);
    h->refusals += st->refused;
    tg_h2_forget_headers(&st->base);
    tg_h2_stream_check(st);
}

static void take_round_trip(struct tg_h2 *h)
{
    uint32_t took = (uint32_t)(h->base.reactor->now - h->asked);
    if (!h->measured || took < h->rtt)
        h->rtt = took;
    h->measured = true;
    h->asked = 0;
}

/* A busy peer may have been late with its SETTINGS; no answer to a request is earlier than a round trip. */
static void take_answer(struct tg_h2 *h, const struct tg_h2_stream *st)
{
    uint32_t took = (uint32_t)h->base.reactor->now - st->looked;
    if (h->measured && took < h->rtt)
        h->rtt = took;
}

static void take_header(struct tg_h2 *h, struct tg_h2_stream *st)
{
    struct tg_h2_field status;
    if (st->complete)
        return; /* those were the trailers */
    if (h->options.client && st->words != NULL &&
        tg_h2_block_find(st->words->headers, ":status", &status) && status.value_len > 0 &&
        status.value[0] == '1') { /* an interim answer: RFC 9113 8.1 */
        struct tg_h2_block *interim = st->words->headers;
        spend(h, &h->frame_tokens, "the peer floods us with interim answers");
        st->words->headers = NULL;
        tg_h2_stream_add_interim(st, interim);
        return;
    }
    st->complete = true;
    if (h->options.client)
        take_answer(h, st);
    if (st->expects)
        judge_status(h, st);
    if (h->options.client) {
        tg_h2_stream_header_over(st);
        if (st->awaits_heads)
            tg_h2_stream_check(st);
        return;
    }
    st->waiting = true;
    st->turn_link = h->accept_last;
    *h->accept_last = st;
    h->accept_last = &st->turn_next;
    tg_defer(h->base.reactor, &h->event);
}

static void take_settings(struct tg_h2 *h)
{
    for (struct tg_h2_stream *st = h->all; st != NULL; st = st->next)
        if ((st->wanted & TG_WRITABLE) && tg_h2_stream_window(st) > 0)
            tg_h2_join_turns(st);
}

static void take_window(struct tg_h2 *h, struct tg_h2_stream *st)
{
    if (st != NULL) {
        if ((st->wanted & TG_WRITABLE) && tg_h2_stream_window(st) > 0)
            tg_h2_join_turns(st);
    } else if (h->starved) {
        h->starved = false;
        take_settings(h);
    }
}

static void take_goaway(struct tg_h2 *h, const nghttp2_frame *frame)
{
    h->draining = true;
    if (frame->goaway.error_code != NGHTTP2_NO_ERROR)
        tg_error_put(&h->farewell, "h2", "session",
                     frame->goaway.error_code == NGHTTP2_ENHANCE_YOUR_CALM ? TG_LIMIT : TG_RESET,
                     nghttp2_http2_strerror(frame->goaway.error_code));
    tg_defer(h->base.reactor, &h->event);
}

static int on_frame(nghttp2_session *ng, const nghttp2_frame *frame, void *arg)
{
    struct tg_h2 *h = arg;
    struct tg_h2_stream *st =
        frame->hd.stream_id > 0 ? stream_of(ng, frame->hd.stream_id) : NULL;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        if (st != NULL)
            take_header(h, st);
        break;
    case NGHTTP2_WINDOW_UPDATE:
        if (frame->hd.stream_id == 0 || st != NULL)
            take_window(h, st);
        break;
    case NGHTTP2_SETTINGS:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) && h->asked != 0)
            take_round_trip(h);
        if (!h->greeted)
            tg_defer(h->base.reactor, &h->event);
        h->greeted = true;
        if (!(frame->hd.flags & NGHTTP2_FLAG_ACK))
            take_settings(h);
        break;
    case NGHTTP2_PING:
        if (frame->hd.flags & NGHTTP2_FLAG_ACK)
            h->pinged = 0;
        break;
    case NGHTTP2_GOAWAY:
        take_goaway(h, frame);
        break;
    case NGHTTP2_RST_STREAM:
        if (st != NULL && !h->options.client && !st->answered)
            spend(h, &h->reset_tokens, "the peer takes too many requests back");
        break;
    default:
        break;
    }
    bool carrier = frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS;
    if (st != NULL && carrier && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
        st->fin_received = true;
        tg_h2_stream_check(st);
    }
    return 0;
}

static int on_chunk(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *data,
                    size_t len, void *arg)
{
    struct tg_h2_stream *st = stream_of(ng, id);
    (void)flags, (void)arg;
    if (st == NULL || st->orphan)
        nghttp2_session_consume(ng, id, len);
    else
        tg_h2_stream_take(st, data, len);
    return 0;
}

static int on_stream_over(nghttp2_session *ng, int32_t id, uint32_t code, void *arg)
{
    struct tg_h2 *h = arg;
    struct tg_h2_stream *st = stream_of(ng, id);
    if (st == NULL) /* refused, or its user has gone */
        return 0;
    nghttp2_session_set_stream_user_data(ng, id, NULL);
    h->open--;
    st->closed = true;
    st->code = st->unsent ? NGHTTP2_REFUSED_STREAM : code;
    if (st->orphan || (!h->options.client && (st->waiting || !st->complete))) {
        tg_h2_stream_part(st);
        tg_h2_stream_free(st);
        return 0;
    }
    tg_h2_leave_turns(st);
    tg_h2_stream_header_over(st);
    tg_h2_stream_check(st);
    return 0;
}

nghttp2_session_callbacks *tg_h2_callbacks(void)
{
    nghttp2_session_callbacks *c;
    if (nghttp2_session_callbacks_new(&c) != 0)
        abort();
    nghttp2_session_callbacks_set_send_data_callback(c, on_data);
    nghttp2_session_callbacks_set_data_source_read_length_callback(c, on_frame_size);
    nghttp2_session_callbacks_set_on_frame_send_callback(c, on_frame_send);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(c, on_frame_not_send);
    nghttp2_session_callbacks_set_on_begin_frame_callback(c, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(c, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(c, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(c, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, on_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(c, on_stream_over);
    return c;
}

/* --- receiving -------------------------------------------------------------------------------- */

static void feed(struct tg_h2 *h, const uint8_t *data, size_t len)
{
    ssize_t n = nghttp2_session_mem_recv(h->ng, data, len);
    if (n >= 0)
        return;
    if (h->violation.code != TG_OK)
        return; /* a callback gave up */
    if (n == NGHTTP2_ERR_BAD_CLIENT_MAGIC)
        tg_h2_blame(h, TG_PROTOCOL, "the client does not speak HTTP/2");
    else if (n == NGHTTP2_ERR_FLOODED)
        tg_h2_blame(h, TG_LIMIT, "the peer floods us with frames that want an answer");
    else
        tg_h2_blame(h, TG_PROTOCOL, nghttp2_strerror((int)n));
}

void tg_h2_receive(struct tg_h2 *h)
{
    uint8_t *chunk = tg_pool_scratch(&h->base.reactor->pool);
    for (size_t taken = 0; taken < READ_BUDGET && !h->base.dead && !h->hungry;) {
        ssize_t n = tg_stream_read(h->base.lower, chunk, READ_CHUNK);
        if (n == TG_AGAIN)
            return;
        if (n <= 0) {
            end_with_lower(h);
            return;
        }
        h->heard = h->base.reactor->now;
        h->probed = 0;
        tg_session_queue_count(&h->base, (size_t)n);
        taken += (size_t)n;
        feed(h, chunk, (size_t)n);
        tg_h2_stir(h);
        if (h->violation.code != TG_OK)
            return; /* on_work() draws the consequences */
        tg_h2_update_wants(h);
        if ((size_t)n < READ_CHUNK)
            return; /* most likely that was all; if not, we are asked again */
    }
}

