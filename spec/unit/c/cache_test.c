/* The shared cache: its bounds hold and its values live while four threads fight over it. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cache.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define THREADS 4
#define ROUNDS 20000
#define ENTRIES 50u

static struct tg_cache *open_cache(void)
{
    return tg_shared_get(TG_SHARED_CACHE, "test", 4);
}

static void put(struct tg_cache *c, const char *key, const char *value, uint64_t ttl, uint64_t now)
{
    assert_true(tg_cache_set(c, key, strlen(key), value, strlen(value), ttl, now));
}

static bool has(struct tg_cache *c, const char *key, uint64_t now, bool *fresh)
{
    struct tg_cache_value *v = tg_cache_get(c, key, strlen(key), now, fresh);
    tg_cache_value_put(v);
    return v != NULL;
}

static void expired_entries_stay_until_swept(void **state)
{
    (void)state;
    struct tg_cache *c = open_cache();
    bool fresh;
    size_t entries, bytes;
    put(c, "a", "12", 100, 1000);
    put(c, "b", "345", 0, 1000);
    assert_true(has(c, "a", 1099, &fresh) && fresh);
    assert_true(has(c, "a", 1100, &fresh) && !fresh);
    assert_true(has(c, "b", UINT64_MAX, &fresh) && fresh);
    assert_int_equal(1, tg_cache_sweep(c, 1100));
    assert_false(has(c, "a", 1100, &fresh));
    tg_cache_size(c, &entries, &bytes);
    assert_int_equal(1, entries);
    assert_int_equal(3, bytes);
    tg_shared_put(c);
}

static void a_value_outlives_its_entry(void **state)
{
    (void)state;
    struct tg_cache *c = open_cache();
    bool fresh;
    put(c, "a", "kept", 0, 0);
    struct tg_cache_value *v = tg_cache_get(c, "a", 1, 0, &fresh);
    assert_true(tg_cache_delete(c, "a", 1));
    assert_false(tg_cache_delete(c, "a", 1));
    tg_shared_put(c);
    assert_memory_equal("kept", v->bytes, 4);
    tg_cache_value_put(v);
}

static void *fight(void *arg)
{
    struct tg_cache *c = open_cache();
    uint64_t seed = (uintptr_t)arg * 7919 + 1;
    for (int i = 0; i < ROUNDS; i++) {
        char key[16];
        bool fresh;
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        size_t len = (size_t)snprintf(key, sizeof(key), "%u", (unsigned)(seed >> 40) % 200);
        if (seed >> 33 & 1) {
            tg_cache_set(c, key, len, key, len, seed >> 50 & 3, (uint64_t)i);
            continue;
        }
        struct tg_cache_value *v = tg_cache_get(c, key, len, (uint64_t)i, &fresh);
        if (v != NULL && (v->len != len || memcmp(v->bytes, key, len) != 0))
            return "a value of another key";
        tg_cache_value_put(v);
        if (i % 1000 == 0)
            tg_cache_sweep(c, (uint64_t)i);
    }
    tg_shared_put(c);
    return NULL;
}

static void bounds_hold_between_threads(void **state)
{
    (void)state;
    struct tg_cache *c = open_cache();
    pthread_t threads[THREADS];
    size_t entries, bytes;
    tg_cache_configure(c, ENTRIES, 100, true, 0);
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(0, pthread_create(&threads[i], NULL, fight, (void *)i));
    for (int i = 0; i < THREADS; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
    tg_cache_size(c, &entries, &bytes);
    assert_true(entries > 0 && entries <= ENTRIES && bytes <= 100);
    tg_shared_put(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expired_entries_stay_until_swept),
        cmocka_unit_test(a_value_outlives_its_entry),
        cmocka_unit_test(bounds_hold_between_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
