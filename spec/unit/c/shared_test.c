/* Shared objects: arithmetic on one thread, and nothing lost on four. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/reactor.h"
#include "base/shared.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define THREADS 4
#define ROUNDS 20000

static void *get(enum tg_shared_kind kind, const char *name)
{
    return tg_shared_get(kind, name, strlen(name));
}

static void in_threads(void *(*run)(void *))
{
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(0, pthread_create(&threads[i], NULL, run, (void *)i));
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

static void a_name_and_kind_is_one_object(void **state)
{
    (void)state;
    struct tg_counter *a = get(TG_SHARED_COUNTER, "x"), *b = get(TG_SHARED_COUNTER, "x");
    struct tg_ticket *t = get(TG_SHARED_TICKET, "x");
    assert_ptr_equal(a, b);
    assert_ptr_not_equal(a, t);
    assert_ptr_not_equal(a, get(TG_SHARED_COUNTER, "y"));
    tg_shared_put(get(TG_SHARED_COUNTER, "y"));
    tg_shared_put(get(TG_SHARED_COUNTER, "y"));
    tg_counter_add(a, 5);
    tg_shared_put(a);
    assert_int_equal(5, tg_counter_read(b));
    assert_int_equal(5, tg_counter_reset(b));
    assert_int_equal(0, tg_counter_read(b));
    tg_shared_put(b);
    tg_shared_put(t);
    char long_name[TG_SHARED_NAME_MAX + 1] = { 0 };
    assert_null(tg_shared_get(TG_SHARED_MARK, long_name, sizeof(long_name)));
}

static void the_last_put_forgets_the_value(void **state)
{
    (void)state;
    struct tg_counter *c = get(TG_SHARED_COUNTER, "gone");
    tg_counter_add(c, 1);
    tg_shared_put(c);
    c = get(TG_SHARED_COUNTER, "gone");
    assert_int_equal(0, tg_counter_read(c));
    tg_shared_put(c);
}

static void a_bucket_gives_its_burst_and_then_its_rate(void **state)
{
    (void)state;
    struct tg_bucket *b = get(TG_SHARED_BUCKET, "rate");
    uint32_t wait = 0;
    assert_int_equal(1 << 20, tg_bucket_take(b, 1 << 20, 1000, &wait)); /* no limit yet */
    tg_bucket_configure(b, 1000, 500);
    assert_int_equal(500, tg_bucket_take(b, 800, 1000, &wait));
    assert_int_equal(0, tg_bucket_take(b, 1, 1000, &wait));
    assert_int_equal(1, wait);
    assert_int_equal(100, tg_bucket_take(b, 800, 1100, &wait));
    tg_bucket_return(b, 40);
    assert_int_equal(40, tg_bucket_take(b, 800, 1100, &wait));
    assert_int_equal(500, tg_bucket_take(b, 800, 60000, &wait)); /* never more than the burst */
    tg_bucket_configure(b, 2, 1);
    assert_int_equal(1, tg_bucket_take(b, 1, 120000, &wait));
    assert_int_equal(0, tg_bucket_take(b, 1, 120000, &wait));
    assert_int_equal(500, wait);
    assert_int_equal(1, tg_bucket_take(b, 1, 120500, &wait));
    tg_shared_put(b);
}

static void a_mark_fails_for_a_time(void **state)
{
    (void)state;
    struct tg_mark *m = get(TG_SHARED_MARK, "node");
    uint64_t now = 1700000000000u;
    assert_false(tg_mark_failed(m, 0, 1000, now));
    tg_mark_fail(m, now);
    assert_true(tg_mark_failed(m, 1, 1000, now + 999));
    assert_false(tg_mark_failed(m, 2, 1000, now + 999));
    assert_false(tg_mark_failed(m, 1, 1000, now + 1000));
    tg_mark_fail(m, now + 10);
    assert_int_equal(2, tg_mark_count(m));
    tg_mark_reset(m);
    assert_int_equal(0, tg_mark_count(m));
    assert_false(tg_mark_failed(m, 1, 1000, now + 10));
    tg_shared_put(m);
}

static enum tg_dict_type lookup(struct tg_dict *d, const char *key, char *out, size_t size,
                                uint64_t now)
{
    size_t len;
    enum tg_dict_type type = tg_dict_get(d, key, strlen(key), out, size, &len, now);
    if (len < size)
        out[len] = 0;
    return type;
}

static void a_dictionary_keeps_values_until_they_expire(void **state)
{
    (void)state;
    struct tg_dict *d = get(TG_SHARED_DICT, "d");
    char out[16];
    double value;
    assert_true(tg_dict_set(d, "a", 1, TG_DICT_BYTES, "one", 3, 0, 100));
    assert_true(tg_dict_set(d, "b", 1, TG_DICT_BYTES, "two", 3, 50, 100));
    assert_int_equal(TG_DICT_BYTES, lookup(d, "a", out, sizeof(out), 100));
    assert_string_equal("one", out);
    assert_int_equal(TG_DICT_BYTES, lookup(d, "b", out, sizeof(out), 149));
    assert_int_equal(TG_DICT_ABSENT, lookup(d, "b", out, sizeof(out), 150));
    assert_true(tg_dict_set(d, "a", 1, TG_DICT_BYTES, "longer", 6, 0, 100));
    assert_int_equal(TG_DICT_BYTES, lookup(d, "a", out, sizeof(out), 100));
    assert_string_equal("longer", out);
    assert_int_equal(1, tg_dict_count(d));
    assert_true(tg_dict_incr(d, "n", 1, 2, 10, 20, 100, &value));
    assert_true(value == 12);
    assert_true(tg_dict_incr(d, "n", 1, -1, 10, 20, 119, &value));
    assert_true(value == 11);
    assert_true(tg_dict_incr(d, "n", 1, 1, 10, 20, 120, &value));
    assert_true(value == 11); /* the first one had run out */
    assert_false(tg_dict_incr(d, "a", 1, 1, 0, 0, 100, &value));
    assert_true(tg_dict_delete(d, "a", 1));
    assert_false(tg_dict_delete(d, "a", 1));
    tg_dict_clear(d);
    assert_int_equal(0, tg_dict_count(d));
    tg_shared_put(d);
}

static void a_dictionary_stays_within_its_limit(void **state)
{
    (void)state;
    struct tg_dict *d = get(TG_SHARED_DICT, "limited");
    tg_dict_limit(d, 10000);
    char key[16], value[100] = { 0 };
    int stored = 0;
    for (int i = 0; i < 1000; i++)
        stored += tg_dict_set(d, key, (size_t)sprintf(key, "%d", i), TG_DICT_BYTES, value,
                              sizeof(value), 10, 1);
    assert_in_range(stored, 50, 100);
    /* What expired makes room again, though nobody asks for it by name; keys are spread by a
     * secret, so now and then all of it lies where nobody has looked yet. */
    stored = 0;
    for (int i = 1000; i < 4000; i++)
        stored += tg_dict_set(d, key, (size_t)sprintf(key, "%d", i), TG_DICT_BYTES, value,
                              sizeof(value), 1, 100 + (uint64_t)i * 10);
    assert_in_range(stored, 2900, 3000);
    tg_shared_put(d);
}

static bool count_entry(void *arg, const void *key, size_t key_len, const void *value,
                        size_t value_len)
{
    (void)key, (void)key_len, (void)value, (void)value_len;
    return ++*(int *)arg < 5;
}

static void each_goes_over_living_entries_until_told_to_stop(void **state)
{
    (void)state;
    struct tg_dict *d = get(TG_SHARED_DICT, "each");
    int seen = 0;
    assert_true(tg_dict_set(d, "a", 1, TG_DICT_BYTES, "", 0, 10, 1));
    assert_true(tg_dict_set(d, "b", 1, TG_DICT_BYTES, "", 0, 0, 1));
    tg_dict_each(d, 11, count_entry, &seen);
    assert_int_equal(1, seen);
    for (char c = 'c'; c < 'z'; c++)
        assert_true(tg_dict_set(d, &c, 1, TG_DICT_BYTES, "", 0, 0, 1));
    seen = 0;
    tg_dict_each(d, 11, count_entry, &seen);
    assert_int_equal(5, seen);
    tg_shared_put(d);
}

static uint8_t drawn[THREADS * ROUNDS];

static void *draw(void *arg)
{
    (void)arg;
    struct tg_ticket *t = get(TG_SHARED_TICKET, "draw");
    struct tg_counter *c = get(TG_SHARED_COUNTER, "draw");
    struct tg_dict *d = get(TG_SHARED_DICT, "draw");
    struct tg_bucket *b = get(TG_SHARED_BUCKET, "draw");
    for (int i = 0; i < ROUNDS; i++) {
        double value;
        uint32_t wait;
        uint64_t n = tg_ticket_next(t);
        drawn[n]++; /* each number once: no two threads write to one place */
        tg_counter_add(c, (int64_t)tg_bucket_take(b, 1, 1, &wait));
        char key = (char)(n & 31);
        tg_dict_incr(d, &key, 1, 1, 0, 0, 1, &value);
    }
    tg_shared_put(t);
    tg_shared_put(c);
    tg_shared_put(d);
    tg_shared_put(b);
    return NULL;
}

static void nothing_is_lost_between_threads(void **state)
{
    (void)state;
    void *t = get(TG_SHARED_TICKET, "draw"), *c = get(TG_SHARED_COUNTER, "draw");
    struct tg_dict *d = get(TG_SHARED_DICT, "draw");
    struct tg_bucket *b = get(TG_SHARED_BUCKET, "draw");
    tg_bucket_configure(b, 1, 30000);
    in_threads(draw);
    for (size_t i = 0; i < sizeof(drawn); i++)
        assert_int_equal(1, drawn[i]);
    assert_int_equal(30000, tg_counter_read(c));
    double sum = 0, value;
    for (char key = 0; key < 32; key++) {
        assert_true(tg_dict_incr(d, &key, 1, 0, 0, 0, 1, &value));
        sum += value;
    }
    assert_true(sum == THREADS * ROUNDS);
    tg_shared_put(t);
    tg_shared_put(c);
    tg_shared_put(d);
    tg_shared_put(b);
}

static void *come_and_go(void *arg)
{
    char name[32];
    for (int i = 0; i < ROUNDS; i++) {
        size_t len = (size_t)sprintf(name, "%d", (int)(((uintptr_t)arg + (unsigned)i) % 7));
        struct tg_counter *c = tg_shared_get(TG_SHARED_COUNTER, name, len);
        tg_counter_add(c, 1);
        tg_shared_put(c);
    }
    return NULL;
}

static void objects_come_and_go_between_threads(void **state)
{
    (void)state;
    in_threads(come_and_go);
}

static void charging_goes_into_debt_and_keeps_turns(void **state)
{
    (void)state;
    struct tg_bucket *b = get(TG_SHARED_BUCKET, "debt");
    uint32_t wait;
    assert_int_equal(0, tg_bucket_charge(b, 1000000, 5)); /* no limit yet */
    assert_true(tg_bucket_burst(b) == UINT64_MAX);
    tg_bucket_configure(b, 1000, 1000);
    assert_int_equal(1000, tg_bucket_burst(b));
    assert_int_equal(0, tg_bucket_charge(b, 1000, 10000));
    assert_false(tg_bucket_full(b, 10000));
    assert_int_equal(500, tg_bucket_charge(b, 500, 10000));
    assert_int_equal(600, tg_bucket_charge(b, 100, 10000)); /* behind the one before */
    assert_int_equal(350, tg_bucket_charge(b, 250, 10500));
    assert_int_equal(0, tg_bucket_take(b, 1, 10500, &wait));
    assert_int_equal(351, wait);
    tg_bucket_return(b, 250); /* somebody gave up */
    assert_int_equal(101, tg_bucket_charge(b, 1, 10500));
    assert_false(tg_bucket_full(b, 11600));
    assert_true(tg_bucket_full(b, 11601));
    tg_shared_put(b);
}

static void portions_are_worth_a_wakeup(void **state)
{
    (void)state;
    struct tg_bucket *b = get(TG_SHARED_BUCKET, "portion");
    assert_int_equal(77, tg_bucket_portion(b, 77, 1));
    tg_bucket_configure(b, 640000, 100000);
    assert_int_equal(100000, tg_bucket_portion(b, 1000000, 1000));
    assert_int_equal(50, tg_bucket_portion(b, 50, 1000));
    tg_bucket_charge(b, 60000, 1000);
    assert_int_equal(40000, tg_bucket_portion(b, 1000000, 1000));
    tg_bucket_charge(b, 60000, 1000);
    assert_int_equal(10000, tg_bucket_portion(b, 1000000, 1000)); /* a 64th of a second's worth */
    tg_bucket_configure(b, 640000, 5000);
    assert_int_equal(5000, tg_bucket_portion(b, 1000000, 1000));
    tg_bucket_configure(b, 10, 10);
    assert_int_equal(10, tg_bucket_portion(b, 1000000, 1000));
    tg_shared_put(b);
}

static void all_or_nothing(void **state)
{
    (void)state;
    struct tg_bucket *b = get(TG_SHARED_BUCKET, "all");
    assert_true(tg_bucket_take_all(b, 1000, 1));
    tg_bucket_configure(b, 3900, 4000);
    for (int i = 0; i < 4; i++)
        assert_true(tg_bucket_take_all(b, 1000, 1000));
    assert_false(tg_bucket_take_all(b, 1000, 1000));
    assert_false(tg_bucket_take_all(b, 1000, 1255));
    assert_true(tg_bucket_take_all(b, 1000, 1257));
    tg_shared_put(b);
}

static void absurd_rates_do_not_wrap(void **state)
{
    (void)state;
    struct tg_bucket *b = get(TG_SHARED_BUCKET, "absurd");
    tg_bucket_configure(b, 1, (uint64_t)1 << 53);
    for (int i = 0; i < 100; i++)
        assert_int_equal(0, tg_bucket_charge(b, 1 << 20, 1000));
    for (int i = 0; i < 10000; i++)
        tg_bucket_charge(b, (uint64_t)1 << 40, 1000);
    assert_true(tg_bucket_portion(b, 100, 1000) > 0);
    assert_false(tg_bucket_full(b, 1000));
    tg_bucket_configure(b, 1000000, 1000000); /* and the debt does not last */
    uint32_t wait;
    uint64_t now = tg_clock_ms() + 3000;
    assert_true(tg_bucket_take(b, 1, now, &wait) == 1);
    tg_shared_put(b);
}

static void *take_places(void *arg)
{
    struct tg_counter *c = get(TG_SHARED_COUNTER, "places");
    uintptr_t taken = 0;
    (void)arg;
    for (int i = 0; i < ROUNDS; i++)
        taken += tg_counter_take(c, ROUNDS + 17);
    tg_shared_put(c);
    return (void *)taken;
}

static void places_are_taken_exactly(void **state)
{
    (void)state;
    struct tg_counter *c = get(TG_SHARED_COUNTER, "places");
    in_threads(take_places);
    assert_int_equal(ROUNDS + 17, tg_counter_read(c));
    tg_counter_set(c, 3);
    assert_true(tg_counter_take(c, 4));
    assert_false(tg_counter_take(c, 4));
    tg_shared_put(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_and_kind_is_one_object),
        cmocka_unit_test(the_last_put_forgets_the_value),
        cmocka_unit_test(a_bucket_gives_its_burst_and_then_its_rate),
        cmocka_unit_test(charging_goes_into_debt_and_keeps_turns),
        cmocka_unit_test(portions_are_worth_a_wakeup),
        cmocka_unit_test(all_or_nothing),
        cmocka_unit_test(absurd_rates_do_not_wrap),
        cmocka_unit_test(places_are_taken_exactly),
        cmocka_unit_test(a_mark_fails_for_a_time),
        cmocka_unit_test(a_dictionary_keeps_values_until_they_expire),
        cmocka_unit_test(a_dictionary_stays_within_its_limit),
        cmocka_unit_test(each_goes_over_living_entries_until_told_to_stop),
        cmocka_unit_test(nothing_is_lost_between_threads),
        cmocka_unit_test(objects_come_and_go_between_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
