/* Compiled lists: many threads open, ask and close them while others come and go; and large ones
 * hold what was put into them. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "match/glob.h"
#include "match/match.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define THREADS 4
#define ROUNDS  2000
#define NAMES   100000

static _Atomic uint64_t current;

static struct tg_match *make(unsigned number)
{
    char text[64];
    struct tg_match *m = tg_match_new(false);
    assert_non_null(m);
    int n = snprintf(text, sizeof(text), "n%u.test:80", number);
    assert_int_equal(0, tg_match_add(m, text, (size_t)n, NULL, 0));
    assert_int_equal(0, tg_match_add(m, "always.test", 11, NULL, 0));
    tg_match_seal(m);
    return m;
}

static void *ask(void *arg)
{
    unsigned *found = arg;
    for (int i = 0; i < ROUNDS; i++) {
        struct tg_match *m = tg_match_find(atomic_load(&current));
        if (m == NULL) /* withdrawn just now */
            continue;
        *found += tg_match_has(m, "always.test:1", 13);
        tg_match_put(m);
    }
    return NULL;
}

static void lists_come_and_go(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    unsigned found[THREADS] = { 0 };
    struct tg_match *m = make(0);
    uint64_t id = tg_match_publish(m);
    tg_match_put(m);
    atomic_store(&current, id);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(0, pthread_create(&threads[i], NULL, ask, &found[i]));
    for (unsigned i = 1; i < ROUNDS; i++) {
        m = make(i);
        uint64_t fresh = tg_match_publish(m);
        tg_match_put(m);
        atomic_store(&current, fresh);
        tg_match_withdraw(id);
        assert_null(tg_match_find(id));
        id = fresh;
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_true(found[i] > 0);
    }
    tg_match_withdraw(id);
    tg_match_withdraw(id);
}

static bool has(const struct tg_match *m, const char *address)
{
    return tg_match_has(m, address, strlen(address));
}

static void a_large_list_holds_all_of_it(void **state)
{
    (void)state;
    char text[64];
    struct tg_match *m = tg_match_new(false);
    for (unsigned i = 0; i < NAMES; i++) {
        int n = snprintf(text, sizeof(text), "%sh%u.d%u.test", i % 2 ? "." : "", i, i % 977);
        assert_int_equal(0, tg_match_add(m, text, (size_t)n, NULL, 0));
        n = snprintf(text, sizeof(text), "10.%u.%u.%u", i >> 16, i >> 8 & 255, i & 254);
        assert_int_equal(0, tg_match_add(m, text, (size_t)n, NULL, 0));
    }
    tg_match_seal(m);
    for (unsigned i = 0; i < NAMES; i++) {
        snprintf(text, sizeof(text), "h%u.d%u.test:443", i, i % 977);
        assert_true(has(m, text));
        snprintf(text, sizeof(text), "x.h%u.d%u.test", i, i % 977);
        assert_int_equal(i % 2, has(m, text));
        snprintf(text, sizeof(text), "h%u.d%u.test", i, i % 977 + 1);
        assert_false(has(m, text));
        snprintf(text, sizeof(text), "10.%u.%u.%u:9", i >> 16, i >> 8 & 255, i & 255);
        assert_int_equal(!(i & 1), has(m, text));
    }
    assert_true(tg_match_bytes(m) < 64u * NAMES);
    tg_match_put(m);
}

static bool count(void *arg, const char *pattern, size_t len)
{
    (void)pattern;
    (void)len;
    return ++*(unsigned *)arg < 3;
}

static void expanding_stops_when_told(void **state)
{
    (void)state;
    unsigned told = 0;
    assert_true(tg_glob_expand("{a,b,c,d,e}", 11, count, &told) < 0);
    assert_int_equal(3, told);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_come_and_go),
        cmocka_unit_test(a_large_list_holds_all_of_it),
        cmocka_unit_test(expanding_stops_when_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
