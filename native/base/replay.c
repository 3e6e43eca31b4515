#include "base/replay.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/shared_object.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SALTS_FIRST 1024u
#define SALTS_TURN (256u * 1024u)     /* salts that make it worth forgetting older ones, once they are old */
#define SALTS_MOST (8u * 1024 * 1024) /* whatever their age */
#define SALTS_MS 60000u
#define CHAINS 4096u
#define SESSIONS_MOST 65536u
#define SESSION_MS 120000u

/* Fingerprints of salts, open addressing; 0 is free. */
struct generation {
    uint64_t *slots;
    uint32_t mask, count;
    uint64_t newest; /* ms */
};

struct session {
    struct session *chain;
    struct session *newer, *older;
    uint64_t print, seen; /* ms */
    struct tg_window window;
};

struct tg_replay {
    struct tg_shared shared;
    pthread_mutex_t lock;
    struct tg_hash_key key;
    struct generation young, old;
    struct session *chains[CHAINS];
    struct session *newest, *oldest;
    uint32_t sessions;
};

struct tg_shared *tg_replay_make(void)
{
    struct tg_replay *r = tg_zalloc(sizeof(*r));
    pthread_mutex_init(&r->lock, NULL);
    tg_hash_key_make(&r->key);
    return &r->shared;
}

void tg_replay_free(struct tg_shared *object)
{
    struct tg_replay *r = (struct tg_replay *)object;
    for (struct session *s = r->newest, *next; s != NULL; s = next) {
        next = s->older;
        free(s);
    }
    free(r->young.slots);
    free(r->old.slots);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

/* Salts ------------------------------------------------------------------------------------------ */

static uint64_t *slot_of(const struct generation *g, uint64_t print)
{
    uint32_t i = (uint32_t)print & g->mask;
    while (g->slots[i] != 0 && g->slots[i] != print)
        i = (i + 1) & g->mask;
    return &g->slots[i];
}

static bool knows(const struct generation *g, uint64_t print)
{
    return g->slots != NULL && *slot_of(g, print) != 0;
}

/* Room for one more.  @return false: out of memory */
static bool make_room(struct generation *g)
{
    uint32_t size = g->slots == NULL ? 0 : g->mask + 1;
    if (g->count < size / 2)
        return true;
    struct generation larger = { .mask = (size == 0 ? SALTS_FIRST : size * 2) - 1 };
    larger.slots = calloc((size_t)larger.mask + 1, sizeof(*larger.slots));
    if (larger.slots == NULL)
        return g->count + 1 < size;
    for (uint32_t i = 0; i < size; i++)
        if (g->slots[i] != 0)
            *slot_of(&larger, g->slots[i]) = g->slots[i];
    free(g->slots);
    g->slots = larger.slots;
    g->mask = larger.mask;
    return true;
}

/* When what the older generation knows is old enough, and the younger one is well filled. */
static void turn(struct tg_replay *r, uint64_t now_ms)
{
    bool aged = r->old.count == 0 || now_ms - r->old.newest > SALTS_MS;
    if (r->young.count < SALTS_TURN || (!aged && r->young.count < SALTS_MOST))
        return;
    free(r->old.slots);
    r->old = r->young;
    r->young = (struct generation){ .slots = NULL };
}

bool tg_replay_salt(struct tg_replay *r, const void *salt, size_t len, uint64_t now_ms)
{
    uint64_t print = tg_hash(&r->key, salt, len) | 1;
    pthread_mutex_lock(&r->lock);
    bool known = knows(&r->young, print) || knows(&r->old, print);
    if (!known) {
        turn(r, now_ms);
        if (make_room(&r->young)) {
            *slot_of(&r->young, print) = print;
            r->young.count++;
            r->young.newest = now_ms;
        }
    }
    pthread_mutex_unlock(&r->lock);
    return !known;
}

/* Packets ---------------------------------------------------------------------------------------- */

bool tg_window_take(struct tg_window *w, uint64_t id)
{
    const uint64_t words = TG_REPLAY_WINDOW / 64;
    if (id == UINT64_MAX)
        return false;
    if (id >= w->last) {
        uint64_t to = id / 64, from = w->last > 0 ? (w->last - 1) / 64 : 0;
        if (w->last == 0 || to - from >= words)
            memset(w->bits, 0, sizeof(w->bits));
        else
            for (uint64_t k = from + 1; k <= to; k++)
                w->bits[k % words] = 0;
        w->last = id + 1;
    } else if (w->last - id > TG_REPLAY_WINDOW - 64) {
        return false;
    }
    uint64_t bit = (uint64_t)1 << (id % 64), *word = &w->bits[id / 64 % words];
    if (*word & bit)
        return false;
    *word |= bit;
    return true;
}

static void unlist(struct tg_replay *r, struct session *s)
{
    *(s->newer != NULL ? &s->newer->older : &r->newest) = s->older;
    *(s->older != NULL ? &s->older->newer : &r->oldest) = s->newer;
}

static void list_first(struct tg_replay *r, struct session *s)
{
    s->newer = NULL;
    s->older = r->newest;
    *(s->older != NULL ? &s->older->newer : &r->oldest) = s;
    r->newest = s;
}

static struct session **place_of(struct tg_replay *r, uint64_t print)
{
    struct session **at = &r->chains[print % CHAINS];
    while (*at != NULL && (*at)->print != print)
        at = &(*at)->chain;
    return at;
}

static void forget_oldest(struct tg_replay *r, uint64_t now_ms)
{
    while (r->oldest != NULL &&
           (now_ms - r->oldest->seen > SESSION_MS || r->sessions >= SESSIONS_MOST)) {
        struct session *s = r->oldest;
        *place_of(r, s->print) = s->chain;
        unlist(r, s);
        free(s);
        r->sessions--;
    }
}

static struct session *session_of(struct tg_replay *r, uint64_t print, uint64_t now_ms)
{
    struct session *s = *place_of(r, print);
    if (s != NULL) {
        unlist(r, s);
    } else {
        forget_oldest(r, now_ms);
        s = tg_zalloc(sizeof(*s));
        s->print = print;
        *place_of(r, print) = s;
        r->sessions++;
    }
    s->seen = now_ms;
    list_first(r, s);
    return s;
}

bool tg_replay_packet(struct tg_replay *r, const void *session, size_t len, uint64_t id,
                      uint64_t now_ms)
{
    uint64_t print = tg_hash(&r->key, session, len);
    pthread_mutex_lock(&r->lock);
    bool fresh = tg_window_take(&session_of(r, print, now_ms)->window, id);
    pthread_mutex_unlock(&r->lock);
    return fresh;
}
