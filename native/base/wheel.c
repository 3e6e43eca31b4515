#include "base/wheel.h"

#include <stddef.h>
#include <string.h>

#define SLOT_BITS 6
#define LEVEL_SPAN(level) ((uint64_t)1 << (SLOT_BITS * ((level) + 1)))

void tg_wheel_open(struct tg_wheel *w, uint64_t now_ms)
{
    memset(w, 0, sizeof(*w));
    w->tick = now_ms / TG_TICK_MS;
}

static void link_into(struct tg_wheel *w, struct tg_timer *t, int level, unsigned slot)
{
    struct tg_timer **head = &w->slots[level][slot];
    t->next = *head;
    if (t->next != NULL)
        t->next->link = &t->next;
    t->link = head;
    *head = t;
    w->used[level] |= (uint64_t)1 << slot;
}

/* A slot of level n is dealt out when the tick reaches a multiple of its span,
 * so a timer belongs to the first level whose whole turn lies behind it. */
static void place(struct tg_wheel *w, struct tg_timer *t)
{
    uint64_t ahead = t->at - w->tick;
    for (int level = 0; level < TG_WHEEL_LEVELS; level++) {
        if (ahead < LEVEL_SPAN(level) || level == TG_WHEEL_LEVELS - 1) {
            uint64_t at = ahead < LEVEL_SPAN(level) ? t->at : w->tick + LEVEL_SPAN(level) - 1;
            link_into(w, t, level, (at >> (SLOT_BITS * level)) & (TG_WHEEL_SLOTS - 1));
            return;
        }
    }
}

void tg_wheel_start(struct tg_wheel *w, struct tg_timer *t, uint64_t at_ms)
{
    tg_wheel_stop(w, t);
    t->at = (at_ms + TG_TICK_MS - 1) / TG_TICK_MS;
    if (t->at <= w->tick)
        t->at = w->tick + 1;
    place(w, t);
}

void tg_wheel_stop(struct tg_wheel *w, struct tg_timer *t)
{
    (void)w; /* bits of slots that became empty are cleared when they are reached */
    if (t->link == NULL)
        return;
    *t->link = t->next;
    if (t->next != NULL)
        t->next->link = t->link;
    t->next = NULL;
    t->link = NULL;
}

/* Take a slot's list away; the timers in it stay stoppable. */
static void take(struct tg_wheel *w, int level, unsigned slot, struct tg_timer **list)
{
    *list = w->slots[level][slot];
    w->slots[level][slot] = NULL;
    w->used[level] &= ~((uint64_t)1 << slot);
    if (*list != NULL)
        (*list)->link = list;
}

static void deal_out(struct tg_wheel *w, int level)
{
    struct tg_timer *list;
    take(w, level, (w->tick >> (SLOT_BITS * level)) & (TG_WHEEL_SLOTS - 1), &list);
    while (list != NULL) {
        struct tg_timer *t = list;
        tg_wheel_stop(w, t);
        place(w, t);
    }
}

static void run_slot(struct tg_wheel *w)
{
    struct tg_timer *list;
    take(w, 0, w->tick & (TG_WHEEL_SLOTS - 1), &list);
    while (list != NULL) {
        struct tg_timer *t = list;
        tg_wheel_stop(w, t);
        t->cb(t->arg);
    }
}

void tg_wheel_run(struct tg_wheel *w, uint64_t now_ms)
{
    uint64_t until = now_ms / TG_TICK_MS;
    while (w->tick < until) {
        if ((w->used[0] | w->used[1] | w->used[2] | w->used[3]) == 0) {
            w->tick = until; /* nothing anywhere: no need to walk */
            return;
        }
        w->tick++;
        for (int level = TG_WHEEL_LEVELS - 1; level > 0; level--)
            if ((w->tick & (LEVEL_SPAN(level - 1) - 1)) == 0)
                deal_out(w, level);
        run_slot(w);
    }
}

int tg_wheel_timeout(const struct tg_wheel *w, uint64_t now_ms)
{
    uint64_t best = UINT64_MAX;
    for (int level = 0; level < TG_WHEEL_LEVELS; level++) {
        if (w->used[level] == 0)
            continue;
        unsigned shift = SLOT_BITS * (unsigned)level;
        unsigned here = (unsigned)(w->tick >> shift) & (TG_WHEEL_SLOTS - 1);
        /* rotate so that bit 0 is the slot after this one */
        unsigned by = (here + 1) & (TG_WHEEL_SLOTS - 1);
        uint64_t turned = by == 0 ? w->used[level] : w->used[level] >> by | w->used[level] << (64 - by);
        uint64_t steps = (uint64_t)__builtin_ctzll(turned) + 1;
        uint64_t at = ((w->tick >> shift) + steps) << shift;
        if (at < best)
            best = at;
    }
    if (best == UINT64_MAX)
        return -1;
    uint64_t at_ms = best * TG_TICK_MS;
    return at_ms <= now_ms ? 0 : (int)(at_ms - now_ms);
}
