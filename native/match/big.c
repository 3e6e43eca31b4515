#include "match/big.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define BIG (1u << 20)

static bool is_big(size_t size)
{
    return size >= BIG;
}

void *tg_big_alloc(size_t size)
{
    if (!is_big(size))
        return calloc(1, size > 0 ? size : 1);
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p != MAP_FAILED ? p : NULL;
}

void *tg_big_resize(void *p, size_t old, size_t size)
{
    if (p != NULL && is_big(old) && is_big(size)) {
        void *moved = mremap(p, old, size, MREMAP_MAYMOVE);
        return moved != MAP_FAILED ? moved : NULL;
    }
    if (!is_big(old) && !is_big(size))
        return realloc(p, size > 0 ? size : 1);
    void *copy = tg_big_alloc(size);
    if (copy == NULL)
        return NULL;
    if (p != NULL)
        memcpy(copy, p, old < size ? old : size);
    tg_big_free(p, old);
    return copy;
}

void tg_big_free(void *p, size_t size)
{
    if (p != NULL && is_big(size))
        munmap(p, size);
    else
        free(p);
}
