#include "base/mem.h"
#include "base/shared_object.h"

#include <math.h>

/* The average fades with this time constant. */
#define TAU_MS 10000.0

/* Of the word: ms of the last note in the upper bits, microseconds in the lower. */
#define VALUE_BITS 24
#define VALUE_MAX (((uint64_t)1 << VALUE_BITS) - 1)

struct tg_latency {
    struct tg_shared shared;
    _Atomic uint64_t word;
};

struct tg_shared *tg_latency_make(void)
{
    return tg_zalloc(sizeof(struct tg_latency));
}

/* What is left of a word's value by now. */
static double faded(uint64_t word, uint64_t now_ms, double *weight)
{
    uint64_t then = word >> VALUE_BITS;
    *weight = exp(-(double)(now_ms > then ? now_ms - then : 0) / TAU_MS);
    return (double)(word & VALUE_MAX) * *weight;
}

void tg_latency_note(struct tg_latency *l, uint64_t us, uint64_t now_ms)
{
    if (us > VALUE_MAX)
        us = VALUE_MAX;
    uint64_t word = atomic_load_explicit(&l->word, memory_order_relaxed), next;
    do {
        double weight, old = faded(word, now_ms, &weight);
        double value = (double)us >= old ? (double)us : old + (double)us * (1 - weight);
        uint64_t stored = value < 1 ? 1 : value > (double)VALUE_MAX ? VALUE_MAX : (uint64_t)value;
        next = now_ms << VALUE_BITS | stored;
    } while (!atomic_compare_exchange_weak_explicit(&l->word, &word, next, memory_order_relaxed,
                                                    memory_order_relaxed));
}

uint32_t tg_latency_read(const struct tg_latency *l, uint64_t now_ms)
{
    double weight;
    return (uint32_t)faded(atomic_load_explicit(&l->word, memory_order_relaxed), now_ms, &weight);
}
