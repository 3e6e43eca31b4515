#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

void *tg_zalloc(size_t size)
{
    void *p = calloc(1, size);
    if (p == NULL) {
        fputs("tidegate: out of memory\n", stderr);
        abort();
    }
    return p;
}
