/** @file
 * The timer wheel on a clock of our own: never early, at most a tick late, at
 * every distance, and safe against callbacks that start and stop timers.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/wheel.h"

struct alarm {
    struct tg_timer timer;
    struct tg_wheel *wheel;
    uint64_t *clock;
    uint64_t rang; /* 0: not yet */
    struct alarm *stops, *restarts;
};

static void ring(void *arg)
{
    struct alarm *a = arg;
    a->rang = *a->clock;
    if (a->stops != NULL)
        tg_wheel_stop(a->wheel, &a->stops->timer);
    if (a->restarts != NULL) {
        tg_wheel_start(a->wheel, &a->restarts->timer, *a->clock + 100);
        a->restarts = NULL;
    }
}

static void set(struct alarm *a, struct tg_wheel *w, uint64_t *clock, uint64_t at)
{
    a->wheel = w;
    a->clock = clock;
    a->timer.cb = ring;
    a->timer.arg = a;
    tg_wheel_start(w, &a->timer, at);
}

/* Let time pass as a loop would: sleep as long as the wheel allows. */
static void pass(struct tg_wheel *w, uint64_t *clock, uint64_t until)
{
    while (*clock < until) {
        int wait = tg_wheel_timeout(w, *clock);
        uint64_t step = wait < 0 ? until - *clock : (uint64_t)(wait > 0 ? wait : 1);
        *clock = *clock + step < until ? *clock + step : until;
        tg_wheel_run(w, *clock);
    }
}

static void rings_in_time_at_every_distance(void **state)
{
    static const uint64_t distances[] = { 1,    3,     4,     5,      100,     255,     256,      257,
                                          1000, 16384, 16385, 100000, 1048576, 1048577, 70000000 };
    (void)state;
    for (size_t i = 0; i < tg_countof(distances); i++) {
        struct tg_wheel w;
        uint64_t clock = 123457;
        struct alarm a = { 0 };
        tg_wheel_open(&w, clock);
        uint64_t at = clock + distances[i];
        set(&a, &w, &clock, at);
        pass(&w, &clock, at + 1000);
        assert_in_range(a.rang, at, at + 2 * TG_TICK_MS);
    }
}

static void many_timers_ring_each_once(void **state)
{
    enum { COUNT = 5000 };
    static struct alarm alarms[COUNT];
    struct tg_wheel w;
    uint64_t clock = 99;
    (void)state;
    tg_wheel_open(&w, clock);
    for (unsigned i = 0; i < COUNT; i++) {
        alarms[i] = (struct alarm){ 0 };
        set(&alarms[i], &w, &clock, clock + 1 + (i * 7919u) % 300000);
    }
    for (unsigned i = 0; i < COUNT; i += 3)
        tg_wheel_stop(&w, &alarms[i].timer);
    pass(&w, &clock, clock + 310000);
    for (unsigned i = 0; i < COUNT; i++) {
        uint64_t at = 99 + 1 + (i * 7919u) % 300000;
        if (i % 3 == 0)
            assert_int_equal(alarms[i].rang, 0);
        else
            assert_in_range(alarms[i].rang, at, at + 2 * TG_TICK_MS);
    }
    assert_int_equal(tg_wheel_timeout(&w, clock), -1);
}

static void callbacks_may_stop_and_start(void **state)
{
    struct tg_wheel w;
    uint64_t clock = 1000;
    struct alarm first = { 0 }, victim = { 0 }, again = { 0 };
    (void)state;
    tg_wheel_open(&w, clock);
    set(&victim, &w, &clock, 1100);
    set(&again, &w, &clock, 5000);
    set(&first, &w, &clock, 1100); /* rings first: same slot, last in */
    first.stops = &victim;
    first.restarts = &again;
    pass(&w, &clock, 9000);
    assert_int_equal(victim.rang, 0);
    assert_in_range(again.rang, 1200, 1216);
}

static void a_loop_that_slept_too_long_catches_up(void **state)
{
    struct tg_wheel w;
    uint64_t clock = 10;
    struct alarm near = { 0 }, far = { 0 };
    (void)state;
    tg_wheel_open(&w, clock);
    set(&near, &w, &clock, 50);
    set(&far, &w, &clock, 90000);
    clock = 1000000;
    tg_wheel_run(&w, clock);
    assert_int_not_equal(near.rang, 0);
    assert_int_not_equal(far.rang, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rings_in_time_at_every_distance),
        cmocka_unit_test(many_timers_ring_each_once),
        cmocka_unit_test(callbacks_may_stop_and_start),
        cmocka_unit_test(a_loop_that_slept_too_long_catches_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
