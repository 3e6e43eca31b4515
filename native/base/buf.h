#pragma once

/** @file
 * Buffers and the per-thread pool they come from.  A buffer is borrowed only
 * while it holds bytes.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Bytes data[start..end) are in use. */
struct tg_buf {
    struct tg_buf *next; /**< in the pool's list, or the owner's */
    uint32_t start, end, cap;
    uint8_t data[];
};

#define TG_BUF_SMALL 4096u   /**< heads of connections */
#define TG_BUF_LARGE 65536u  /**< relaying; not more: of longer writes the kernel's pieces of 64 KiB leave a small rest,
                                and connections that are full then stall now and then, for 100 ms and more */
#define TG_BUF_CLASSES 3     /**< 4 KiB, 16 KiB, 64 KiB */

struct tg_pool {
    struct tg_buf *free[TG_BUF_CLASSES];
    unsigned count[TG_BUF_CLASSES];
    size_t lent; /**< bytes in buffers that are out */
    uint8_t *scratch; /**< TG_SCRATCH bytes that anyone may use within one call; lazily made */
};

#define TG_SCRATCH (256u * 1024u)

/** @return an empty buffer of at least `cap` bytes; NULL: out of memory (only
 * above TG_BUF_LARGE; below it aborts) */
struct tg_buf *tg_buf_get(struct tg_pool *p, size_t cap);
/** NULL is allowed */
void tg_buf_put(struct tg_pool *p, struct tg_buf *b);
void tg_pool_close(struct tg_pool *p);
/** Give back what lies unused. */
void tg_pool_trim(struct tg_pool *p);
uint8_t *tg_pool_scratch(struct tg_pool *p);

static inline size_t tg_buf_len(const struct tg_buf *b)
{
    return b->end - b->start;
}

static inline size_t tg_buf_room(const struct tg_buf *b)
{
    return b->cap - b->end;
}

/** Make `*b` have room for `more` bytes after its content, by moving it to the
 * front or into a larger buffer.  @return false: out of memory, nothing changed */
bool tg_buf_reserve(struct tg_pool *p, struct tg_buf **b, size_t more);

/** Bytes in several buffers, in order.  All zero: none. */
struct tg_bufs {
    struct tg_buf *first, *last;
};

/** @return the buffer at the end, with room; a new one is of `wanted` bytes, but `most` at the
 * most (TG_BUF_LARGE or less) */
struct tg_buf *tg_bufs_room(struct tg_pool *p, struct tg_bufs *q, size_t wanted, size_t most);
/** Append bytes; `most` as above. */
void tg_bufs_add(struct tg_pool *p, struct tg_bufs *q, const uint8_t *data, size_t len,
                 size_t most);
/** Take bytes off the front.  @return how many, `len` or all there were */
size_t tg_bufs_take(struct tg_pool *p, struct tg_bufs *q, uint8_t *out, size_t len);
/** Drop all. */
void tg_bufs_clear(struct tg_pool *p, struct tg_bufs *q);
