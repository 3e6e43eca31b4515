#pragma once

/** @file
 * Between shared.c and the kinds of shared object: what each begins with.
 */

#include "base/shared.h"

#include <stdatomic.h>

/** First member of every kind. */
struct tg_shared {
    struct tg_shared *next; /**< in the registry's chain */
    char *name;
    uint32_t hash;
    atomic_uint refs;
    uint8_t kind; /**< enum tg_shared_kind */
    uint8_t name_len;
};

struct tg_shared *tg_latency_make(void);
struct tg_shared *tg_dict_make(void);
void tg_dict_free(struct tg_shared *object);
struct tg_shared *tg_cache_make(void);
void tg_cache_free(struct tg_shared *object);
struct tg_shared *tg_replay_make(void);
void tg_replay_free(struct tg_shared *object);
