#include "relay/body.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READ_MAX      TG_BUF_LARGE
#define BODY_STEP_MAX (8u * READ_MAX) /* per step, so that one fast body starves nobody */
#define BUSY_READS    2u              /* full reads in a row after which splice() pays */
#define STEP_COST     256u            /* bytes that a read counts for besides what it brings */
/* What a read may go past the bytes known to be body: chunk lines come in one
 * read with the data after them, and what is too much is cheap to put back. */
#define CHUNK_SLACK    4096u
#define CHUNK_SIZE_MAX 16u /* our own chunk lines */

void tg_body_open(struct tg_body *b, struct tg_stream *from, struct tg_stream *to,
                  enum tg_body_framing framing, uint64_t length)
{
    *b = (struct tg_body){
        .from = from,
        .to = to,
        .pool = &from->reactor->pool,
        .left = framing == TG_BODY_LENGTH ? length : 0,
        .framing = (uint8_t)framing,
        .received = framing == TG_BODY_LENGTH && length == 0,
        .ended = framing == TG_BODY_LENGTH && length == 0,
    };
}

int tg_body_set_shape(struct tg_body *b, enum tg_body_shape shape)
{
    b->shape = (uint8_t)shape;
    if (shape < TG_BODY_UNPACK || b->ended)
        return 0;
    b->gunzip = tg_gunzip_open(b->pool);
    return b->gunzip != NULL ? 0 : TG_BUSY;
}

/** Keep bytes until `to` takes them. */
static int hold(struct tg_body *b, const void *data, size_t len)
{
    if (b->pending == NULL) {
        b->pending = tg_buf_get(b->pool, len);
        if (b->pending == NULL)
            return TG_LIMIT;
    } else if (!tg_buf_reserve(b->pool, &b->pending, len)) {
        return TG_LIMIT;
    }
    memcpy(b->pending->data + b->pending->end, data, len);
    b->pending->end += (uint32_t)len;
    return 0;
}

static void release(struct tg_body *b)
{
    if (b->pending != NULL)
        tg_buf_put(b->pool, b->pending);
    b->pending = NULL;
}

int tg_body_prefix(struct tg_body *b, const void *data, size_t len)
{
    int rc = len > 0 ? hold(b, data, len) : 0;
    if (rc != 0)
        return rc;
    b->prefix += len;
    b->fresh = b->prefix > 0;
    return 0;
}

static void release_pipe(struct tg_body *b)
{
    if (b->pipe != NULL)
        tg_pipe_put(b->pipes, b->pipe);
    b->pipe = NULL;
}

void tg_body_capture(struct tg_body *b, size_t max)
{
    b->capture.max = max;
}

/** Room for `len` more bytes, as far as they are wanted.  @return how many fit */
static size_t capture_room(struct tg_body *b, size_t len)
{
    size_t most = b->capture.max - b->capture.len;
    size_t n = len < most ? len : most;
    size_t need = b->capture.len + n;
    if (need <= b->capture.size)
        return n;
    size_t size = b->capture.size * 2 > need ? b->capture.size * 2 : need;
    if (size > b->capture.max)
        size = b->capture.max;
    uint8_t *data = realloc(b->capture.data, size);
    if (data == NULL)
        return 0;
    b->capture.data = data;
    b->capture.size = size;
    return n;
}

static void capture(struct tg_body *b, const uint8_t *data, size_t len)
{
    if (b->capture.max == 0 || b->capture.cut || len == 0)
        return;
    size_t n = capture_room(b, len);
    if (n > 0)
        memcpy(b->capture.data + b->capture.len, data, n);
    b->capture.len += n;
    b->capture.cut = n < len;
}

/** @return whether bytes still have to be looked at, so that none may bypass us */
static bool capturing(const struct tg_body *b)
{
    return b->capture.max > 0 && !b->capture.cut;
}

void tg_body_close(struct tg_body *b)
{
    free(b->capture.data);
    b->capture.data = NULL;
    b->capture.len = b->capture.size = 0;
    release(b);
    release_pipe(b);
    tg_gunzip_close(b->gunzip);
    b->gunzip = NULL;
}

/** Bytes that left, the prefix's first. */
static void count(struct tg_body *b, size_t n)
{
    size_t head = n < b->prefix ? n : (size_t)b->prefix;
    b->prefix -= head;
    b->moved += n - head;
}

/** Write what is pending and `data` after it; keep what is not taken. */
static int put(struct tg_body *b, const uint8_t *data, size_t len, struct tg_error *err)
{
    size_t held = b->pending != NULL ? tg_buf_len(b->pending) : 0;
    if (held + len == 0)
        return 0;
    capture(b, data, len);
    if (b->to == NULL) {
        b->moved += len;
        return 0;
    }

    struct iovec iov[2] = {
        { .iov_base = held > 0 ? b->pending->data + b->pending->start : NULL, .iov_len = held },
        { .iov_base = (void *)data, .iov_len = len },
    };
    struct iovec *first = held > 0 ? iov : iov + 1;
    ssize_t n = tg_stream_writev(b->to, first, len > 0 && held > 0 ? 2 : 1);
    if (n < 0 && n != TG_AGAIN) {
        b->from_failed = false;
        *err = b->to->error;
        return (int)n;
    }

    size_t taken = n > 0 ? (size_t)n : 0;
    count(b, taken);
    size_t of_held = taken < held ? taken : held;
    if (held > 0)
        b->pending->start += (uint32_t)of_held;
    if (of_held == held)
        release(b);
    size_t of_data = taken - of_held;
    if (of_data < len && hold(b, data + of_data, len - of_data) != 0)
        return tg_error_put(err, "body", "write", TG_BUSY, "out of memory");
    return b->pending != NULL ? TG_AGAIN : 0;
}

/** How much may be read at once. */
static size_t window(const struct tg_body *b)
{
    uint64_t most = READ_MAX;
    if (b->framing == TG_BODY_LENGTH && b->left < most)
        most = b->left;
    if (b->framing == TG_BODY_CHUNKED) {
        uint64_t known = tg_chunks_left(&b->chunks);
        if (known < most - CHUNK_SLACK)
            most = known + CHUNK_SLACK;
    }
    return (size_t)most;
}

/** Find out which of the `n` bytes just read are body and note where it ends.
 * Bytes to be passed on are in front of `data` afterwards.
 * @return their number, or a negative code */
static ssize_t frame(struct tg_body *b, uint8_t *data, size_t n, struct tg_error *err)
{
    if (b->framing == TG_BODY_CLOSE)
        return (ssize_t)n;
    if (b->framing == TG_BODY_LENGTH) {
        b->left -= n;
        b->received = b->left == 0;
        return (ssize_t)n;
    }

    bool plain = b->shape != TG_BODY_VERBATIM;
    size_t kept = n;
    ssize_t used = tg_chunks_scan(&b->chunks, data, n, plain ? &kept : NULL, err);
    if (used < 0)
        return used;
    b->received = tg_chunks_done(&b->chunks);
    if ((size_t)used < n && tg_stream_unread(b->from, data + used, n - (size_t)used) != 0)
        return tg_error_put(err, "body", "unread", TG_LIMIT, "too much read ahead");
    return plain ? (ssize_t)kept : used;
}

/** Input ended.  @return 0, or a code when that is too early */
static int input_end(struct tg_body *b, struct tg_error *err)
{
    b->received = true;
    if (b->framing == TG_BODY_CLOSE)
        return 0;
    return tg_error_put(err, "body", "read", TG_EOF, "the message ends before its body does");
}

/** Read once.  @return bytes of the body in front of `data`, 0 when none of what was read is,
 * or at the end; or a negative code */
static ssize_t receive(struct tg_body *b, uint8_t *data, struct tg_error *err)
{
    ssize_t n = tg_stream_read(b->from, data, window(b));
    if (n == TG_AGAIN)
        return TG_AGAIN;
    b->from_failed = true;
    if (n < 0) {
        *err = b->from->error;
        return n;
    }
    if (n > 0)
        return frame(b, data, (size_t)n, err);
    return input_end(b, err);
}

/** Pass on, as it is.  @return bytes moved, or a code */
static ssize_t move(struct tg_body *b, struct tg_error *err)
{
    uint8_t *data = tg_pool_scratch(b->pool);
    ssize_t n = receive(b, data, err);
    bool full = n == READ_MAX || (n > 0 && b->from->rationed);
    if (n != TG_AGAIN || !b->from->rationed)
        b->busy = full ? (uint8_t)(b->busy + (b->busy < BUSY_READS)) : 0;
    if (n < 0)
        return n;
    b->ended = b->received;
    b->fresh = false;
    int rc = put(b, data, (size_t)n, err);
    return rc == 0 || rc == TG_AGAIN ? n : rc;
}

/** @return whether this body goes, or may now go, through a pipe */
static bool splicing(struct tg_body *b)
{
    if (b->pipe != NULL)
        return true;
    if (b->busy < BUSY_READS || b->pipes == NULL || b->to == NULL || capturing(b) ||
        b->framing == TG_BODY_CHUNKED || tg_stream_fd(b->from) < 0 || tg_stream_fd(b->to) < 0)
        return false;
    b->pipe = tg_pipe_get(b->pipes);
    return b->pipe != NULL;
}

/** splice() moved nothing.  @return as move() */
static ssize_t nothing_spliced(struct tg_body *b, int sys, struct tg_error *err)
{
    struct tg_stream *from = b->from;
    if (sys == EAGAIN) {
        release_pipe(b); /* it is empty; borrowed again when more comes */
        b->busy = from->ops->obstructed(from) ? 0 : b->busy;
        if (b->busy == 0)
            return 0;
        from->ops->blocked(from, TG_READABLE);
        return TG_AGAIN;
    }
    if (sys == EINVAL) { /* a descriptor that cannot be spliced: copy from now on */
        release_pipe(b);
        b->pipes = NULL;
        return 0;
    }
    b->from_failed = true;
    int code = tg_stream_fail(from, "read", sys);
    *err = from->error;
    return code;
}

/** What the meters of both streams let through.  @return 0, or as move() */
static ssize_t allowance(struct tg_body *b, size_t *most, struct tg_error *err)
{
    ssize_t n = tg_stream_reserve(b->to, TG_WRITABLE, *most);
    b->from_failed = n > 0;
    if (n > 0) {
        *most = (size_t)n;
        n = tg_stream_reserve(b->from, TG_READABLE, *most);
    }
    if (n > 0) {
        *most = (size_t)n;
        return 0;
    }
    tg_stream_release(b->to, TG_WRITABLE, 0);
    release_pipe(b);
    b->held_back = n == TG_AGAIN && !b->from_failed;
    if (n != TG_AGAIN)
        *err = b->from_failed ? b->from->error : b->to->error;
    return n;
}

/** Move bytes into the pipe.  @return as move() */
static ssize_t fill_pipe(struct tg_body *b, struct tg_error *err)
{
    bool counted = b->framing == TG_BODY_LENGTH;
    size_t most = counted && b->left < TG_PIPE_SIZE ? (size_t)b->left : TG_PIPE_SIZE;
    ssize_t code = allowance(b, &most, err);
    if (code < 0)
        return code;
    ssize_t n = splice(tg_stream_fd(b->from), NULL, b->pipe->in, NULL, most,
                       SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    int sys = errno;
    tg_stream_spend(b->from, TG_READABLE, n > 0 ? (size_t)n : 0);
    tg_stream_spend(b->to, TG_WRITABLE, n > 0 ? (size_t)n : 0);
    if (n < 0)
        return nothing_spliced(b, sys, err);
    if (n == 0) {
        b->from->eof = true;
        b->from_failed = true;
        code = input_end(b, err);
        b->ended = b->received;
        return code;
    }
    b->from->rx += (uint64_t)n;
    b->pipe->held += (size_t)n;
    b->left -= counted ? (uint64_t)n : 0;
    b->ended = b->received = counted && b->left == 0;
    return n;
}

/** splice() could not write.  The stream finds that out by itself, too, and then
 * keeps what the peer has said before (an early answer). */
static int not_drained(struct tg_body *b, int sys, struct tg_error *err)
{
    b->from_failed = false;
    int code = (int)tg_stream_write(b->to, "", 1);
    if (code >= 0 || code == TG_AGAIN)
        code = tg_stream_fail(b->to, "write", sys);
    *err = b->to->error;
    return code;
}

/** Write what is in the pipe.  @return 0: it is empty; TG_AGAIN, or a code */
static int drain_pipe(struct tg_body *b, struct tg_error *err)
{
    while (b->pipe->held > 0) {
        ssize_t n = splice(b->pipe->out, NULL, tg_stream_fd(b->to), NULL, b->pipe->held,
                           SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
        if (n < 0 && errno == EAGAIN) {
            b->to->ops->blocked(b->to, TG_WRITABLE);
            return TG_AGAIN;
        }
        if (n <= 0)
            return not_drained(b, n == 0 ? EPIPE : errno, err);
        b->pipe->held -= (size_t)n;
        b->to->tx += (uint64_t)n;
        b->moved += (uint64_t)n;
    }
    return 0;
}

/** Write one piece of unpacked bytes at `data` (room for a chunk's frame is around it). */
static int put_piece(struct tg_body *b, uint8_t *data, size_t len, struct tg_error *err)
{
    if (b->shape == TG_BODY_UNPACK)
        return put(b, data, len, err);
    if (len == 0)
        return put(b, (const uint8_t *)"0\r\n\r\n", 5, err);
    char size[CHUNK_SIZE_MAX + 1];
    size_t n = (size_t)snprintf(size, sizeof(size), "%zx\r\n", len);
    memcpy(data - n, size, n);
    memcpy(data + len, "\r\n", 2);
    return put(b, data - n, n + len + 2, err);
}

/** Unpack a piece of what was read, or read when all was unpacked.  @return as move() */
static ssize_t unpack(struct tg_body *b, struct tg_error *err)
{
    uint8_t *data = tg_pool_scratch(b->pool);
    if (tg_gunzip_hungry(b->gunzip)) {
        ssize_t got = receive(b, data, err);
        if (got < 0)
            return got;
        int fed = tg_gunzip_feed(b->gunzip, data, (size_t)got, b->received, err);
        if (fed < 0)
            return fed;
    }
    b->from_failed = true;
    ssize_t n = tg_gunzip_read(b->gunzip, data + CHUNK_SIZE_MAX, READ_MAX, err);
    if (n == TG_AGAIN)
        return 0;
    if (n < 0)
        return n;
    b->ended = n == 0;
    b->fresh = false;
    int rc = put_piece(b, data + CHUNK_SIZE_MAX, (size_t)n, err);
    return rc == 0 || rc == TG_AGAIN ? n : rc;
}

static ssize_t pass(struct tg_body *b, struct tg_error *err)
{
    if (b->gunzip != NULL)
        return unpack(b, err);
    return splicing(b) ? fill_pipe(b, err) : move(b, err);
}

int tg_body_step(struct tg_body *b, struct tg_error *err)
{
    assert(b->from != NULL);
    b->wants_read = b->wants_write = b->held_back = false;
    for (size_t budget = BODY_STEP_MAX;;) {
        if (b->pending != NULL && !(b->fresh && !b->ended)) {
            int rc = put(b, NULL, 0, err);
            b->wants_write = rc == TG_AGAIN;
            if (rc != 0)
                return rc;
        }
        if (b->pipe != NULL && b->pipe->held > 0) {
            int rc = drain_pipe(b, err);
            b->wants_write = rc == TG_AGAIN;
            if (rc != 0)
                return rc;
        }
        if (b->ended)
            return 0;
        if (budget == 0) {
            /* What waits to be unpacked makes `from` no readier. */
            b->wants_write = b->gunzip != NULL && !tg_gunzip_hungry(b->gunzip);
            b->wants_read = !b->wants_write;
            return TG_AGAIN;
        }

        ssize_t n = pass(b, err);
        if (n == TG_AGAIN && b->fresh) {
            b->fresh = false; /* nothing to go with it yet: write it alone */
            continue;
        }
        if (n < 0) {
            b->wants_write = n == TG_AGAIN && b->held_back;
            b->wants_read = n == TG_AGAIN && !b->held_back;
            return (int)n;
        }
        size_t cost = (size_t)n + STEP_COST;
        budget -= cost < budget ? cost : budget;
    }
}
