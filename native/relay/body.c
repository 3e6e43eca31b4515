#include "relay/body.h"

#include <assert.h>
#include <string.h>

#define READ_MAX TG_BUF_LARGE
#define BODY_STEP_MAX (8u * READ_MAX) /* per step, so that one fast body starves nobody */
/* What a read may go past the bytes known to be body: chunk lines come in one
 * read with the data after them, and what is too much is cheap to put back. */
#define CHUNK_SLACK 4096u

void tg_body_open(struct tg_body *b, struct tg_stream *from, struct tg_stream *to,
                  enum tg_body_framing framing, uint64_t length)
{
    *b = (struct tg_body){
        .from = from,
        .to = to,
        .pool = &from->reactor->pool,
        .left = framing == TG_BODY_LENGTH ? length : 0,
        .framing = (uint8_t)framing,
        .ended = framing == TG_BODY_LENGTH && length == 0,
    };
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

void tg_body_close(struct tg_body *b)
{
    release(b);
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
 * Bytes to be written are in front of `data` afterwards.
 * @return their number, or a negative code */
static ssize_t frame(struct tg_body *b, uint8_t *data, size_t n, struct tg_error *err)
{
    if (b->framing == TG_BODY_CLOSE)
        return (ssize_t)n;
    if (b->framing == TG_BODY_LENGTH) {
        b->left -= n;
        b->ended = b->left == 0;
        return (ssize_t)n;
    }

    size_t kept = n;
    ssize_t used = tg_chunks_scan(&b->chunks, data, n, b->plain ? &kept : NULL, err);
    if (used < 0)
        return used;
    b->ended = tg_chunks_done(&b->chunks);
    if ((size_t)used < n && tg_stream_unread(b->from, data + used, n - (size_t)used) != 0)
        return tg_error_put(err, "body", "unread", TG_LIMIT, "too much read ahead");
    return b->plain ? (ssize_t)kept : used;
}

/** One read and what becomes of it.  @return bytes read, 0 when it is all over, or a code */
static ssize_t move(struct tg_body *b, struct tg_error *err)
{
    uint8_t *data = tg_pool_scratch(b->pool);
    ssize_t n = tg_stream_read(b->from, data, window(b));
    if (n == TG_AGAIN)
        return TG_AGAIN;
    b->from_failed = true;
    if (n < 0) {
        *err = b->from->error;
        return n;
    }
    if (n == 0) {
        b->ended = true;
        if (b->framing == TG_BODY_CLOSE)
            return 0;
        return tg_error_put(err, "body", "read", TG_EOF, "the message ends before its body does");
    }

    ssize_t len = frame(b, data, (size_t)n, err);
    if (len < 0)
        return len;
    b->fresh = false;
    int rc = put(b, data, (size_t)len, err);
    return rc == 0 || rc == TG_AGAIN ? n : rc;
}

int tg_body_step(struct tg_body *b, struct tg_error *err)
{
    assert(b->from != NULL);
    b->wants_read = b->wants_write = false;
    for (size_t budget = BODY_STEP_MAX;;) {
        if (b->pending != NULL && !(b->fresh && !b->ended)) {
            int rc = put(b, NULL, 0, err);
            b->wants_write = rc == TG_AGAIN;
            if (rc != 0)
                return rc;
        }
        if (b->ended)
            return 0;
        if (budget == 0) {
            b->wants_read = true;
            return TG_AGAIN;
        }

        ssize_t n = move(b, err);
        if (n == TG_AGAIN && b->fresh) {
            b->fresh = false; /* nothing to go with it yet: write it alone */
            continue;
        }
        if (n < 0) {
            b->wants_read = n == TG_AGAIN;
            return (int)n;
        }
        budget -= (size_t)n < budget ? (size_t)n : budget;
    }
}
