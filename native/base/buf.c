#include "base/buf.h"

#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const uint32_t class_size[TG_BUF_CLASSES] = { TG_BUF_SMALL, 16384, TG_BUF_LARGE };

/* What is kept at most per class: some hundred KiB, so that RSS goes back after a rush. */
static const unsigned class_keep[TG_BUF_CLASSES] = { 32, 8, 4 };

static int class_of(size_t cap)
{
    for (int i = 0; i < TG_BUF_CLASSES; i++)
        if (cap <= class_size[i])
            return i;
    return -1;
}

static struct tg_buf *make(size_t cap)
{
    struct tg_buf *b = malloc(sizeof(*b) + cap);
    if (b != NULL)
        b->cap = (uint32_t)cap;
    return b;
}

struct tg_buf *tg_buf_get(struct tg_pool *p, size_t cap)
{
    int class = class_of(cap);
    struct tg_buf *b;
    if (class < 0) {
        if (cap > UINT32_MAX - sizeof(*b) || (b = make(cap)) == NULL)
            return NULL;
    } else if (p->free[class] != NULL) {
        b = p->free[class];
        p->free[class] = b->next;
        p->count[class]--;
    } else {
        b = make(class_size[class]);
        if (b == NULL)
            abort();
    }
    b->next = NULL;
    b->start = b->end = 0;
    p->lent += b->cap;
    return b;
}

void tg_buf_put(struct tg_pool *p, struct tg_buf *b)
{
    if (b == NULL)
        return;
    p->lent -= b->cap;
    int class = class_of(b->cap);
    if (class < 0 || b->cap != class_size[class] || p->count[class] >= class_keep[class]) {
        free(b);
        return;
    }
    b->next = p->free[class];
    p->free[class] = b;
    p->count[class]++;
}

void tg_pool_trim(struct tg_pool *p)
{
    for (int i = 0; i < TG_BUF_CLASSES; i++) {
        while (p->free[i] != NULL) {
            struct tg_buf *b = p->free[i];
            p->free[i] = b->next;
            free(b);
        }
        p->count[i] = 0;
    }
}

void tg_pool_close(struct tg_pool *p)
{
    tg_pool_trim(p);
    free(p->scratch);
    p->scratch = NULL;
}

uint8_t *tg_pool_scratch(struct tg_pool *p)
{
    if (p->scratch == NULL && (p->scratch = malloc(TG_SCRATCH)) == NULL)
        abort();
    return p->scratch;
}

bool tg_buf_reserve(struct tg_pool *p, struct tg_buf **b, size_t more)
{
    struct tg_buf *old = *b;
    size_t len = tg_buf_len(old);
    if (tg_buf_room(old) >= more)
        return true;
    if (old->cap - len >= more) {
        memmove(old->data, old->data + old->start, len);
        old->start = 0;
        old->end = (uint32_t)len;
        return true;
    }
    struct tg_buf *grown = tg_buf_get(p, len + more);
    if (grown == NULL)
        return false;
    memcpy(grown->data, old->data + old->start, len);
    grown->end = (uint32_t)len;
    tg_buf_put(p, old);
    *b = grown;
    return true;
}

struct tg_buf *tg_bufs_room(struct tg_pool *p, struct tg_bufs *q, size_t wanted, size_t most)
{
    if (q->first != NULL && tg_buf_room(q->last) > 0)
        return q->last;
    struct tg_buf *fresh = tg_buf_get(p, wanted < most ? wanted : most);
    fresh->next = NULL;
    if (q->first == NULL)
        q->first = fresh;
    else
        q->last->next = fresh;
    q->last = fresh;
    return fresh;
}

void tg_bufs_add(struct tg_pool *p, struct tg_bufs *q, const uint8_t *data, size_t len,
                 size_t most)
{
    while (len > 0) {
        struct tg_buf *b = tg_bufs_room(p, q, len, most);
        size_t n = tg_buf_room(b) < len ? tg_buf_room(b) : len;
        memcpy(b->data + b->end, data, n);
        b->end += (uint32_t)n;
        data += n;
        len -= n;
    }
}

size_t tg_bufs_take(struct tg_pool *p, struct tg_bufs *q, uint8_t *out, size_t len)
{
    size_t n = 0;
    while (n < len && q->first != NULL) {
        struct tg_buf *b = q->first;
        size_t part = tg_buf_len(b) < len - n ? tg_buf_len(b) : len - n;
        memcpy(out + n, b->data + b->start, part);
        b->start += (uint32_t)part;
        n += part;
        if (tg_buf_len(b) == 0) {
            q->first = b->next;
            tg_buf_put(p, b);
        }
    }
    return n;
}

void tg_bufs_clear(struct tg_pool *p, struct tg_bufs *q)
{
    while (q->first != NULL) {
        struct tg_buf *b = q->first;
        q->first = b->next;
        tg_buf_put(p, b);
    }
}
