#include "base/hold.h"

#include "base/mem.h"

#include <stdlib.h>

struct tg_hold {
    struct tg_hold *next;
    struct tg_counter *counter;
};

void tg_hold_add(struct tg_hold **list, struct tg_counter *counter)
{
    struct tg_hold *h = tg_zalloc(sizeof(*h));
    tg_shared_ref(counter);
    tg_counter_add(counter, 1);
    h->counter = counter;
    h->next = *list;
    *list = h;
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
