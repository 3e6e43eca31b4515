#include "base/hold.h"

#include "base/mem.h"

#include <stdlib.h>

struct tg_hold {
    struct tg_hold *next;
    struct tg_counter *counter;
};

bool tg_hold_take(struct tg_hold **list, struct tg_counter *counter, int64_t limit)
{
    if (!tg_counter_take(counter, limit))
        return false;
    struct tg_hold *h = tg_zalloc(sizeof(*h));
    tg_shared_ref(counter);
    h->counter = counter;
    h->next = *list;
    *list = h;
    return true;
}

void tg_hold_release(struct tg_hold **list)
{
    while (*list != NULL) {
        struct tg_hold *h = *list;
        *list = h->next;
        tg_counter_add(h->counter, -1);
        tg_shared_put(h->counter);
        free(h);
    }
}
