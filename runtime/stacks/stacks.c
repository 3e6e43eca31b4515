#include "stacks/stacks.h"

#include "base/mem.h"
#include "stacks/unwind.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* One that nothing else in the process uses: SIGPROF is LuaJIT's profiler's. */
#define SIGNAL (SIGRTMIN + 7)
#define PROBES 64u

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

static _Thread_local struct tg_stacks *_Atomic own;
static _Thread_local timer_t timer;
static _Thread_local uintptr_t stack_end;

static uint32_t hash_of(void *const *frames, uint32_t depth)
{
    uint64_t hash = depth;
    for (uint32_t i = 0; i < depth; i++)
        hash = (hash ^ (uintptr_t)frames[i]) * UINT64_C(0x9E3779B97F4A7C15) + (hash >> 29);
    return (uint32_t)(hash >> 32);
}

static void count(struct tg_stacks *all, void *const *frames, uint32_t depth, uint32_t samples)
{
    uint32_t hash = hash_of(frames, depth);
    for (uint32_t i = 0; i < PROBES; i++) {
        struct tg_stack *one = &all->seen[(hash + i) % TG_STACKS_MAX];
        if (one->samples == 0) {
            one->depth = depth;
            memcpy(one->frames, frames, depth * sizeof(*frames));
        } else if (one->depth != depth || memcmp(one->frames, frames, depth * sizeof(*frames)) != 0) {
            continue;
        }
        one->samples += samples;
        return;
    }
    all->lost += samples;
}

static void on_signal(int number, siginfo_t *info, void *context)
{
    (void)number;
    struct tg_stacks *all = atomic_load_explicit(&own, memory_order_relaxed);
    if (all == NULL)
        return;
    void *frames[TG_STACK_DEPTH];
    int depth = tg_unwind(context, stack_end, frames, TG_STACK_DEPTH);
    count(all, frames, (uint32_t)depth, 1 + (uint32_t)info->si_overrun);
}

/* @return where the calling thread's stack ends, above */
static uintptr_t find_stack_end(void)
{
    pthread_attr_t attributes;
    void *low = NULL;
    size_t size = 0;
    if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
        pthread_attr_getstack(&attributes, &low, &size);
        pthread_attr_destroy(&attributes);
    }
    return (uintptr_t)low + size;
}

bool tg_stacks_start(unsigned interval_ms)
{
    if (own != NULL) {
        errno = EBUSY;
        return false;
    }
    stack_end = find_stack_end();
    struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_RESTART | SA_SIGINFO };
    sigaction(SIGNAL, &action, NULL);
    sigset_t set; /* workers leave signals to the control thread */
    sigemptyset(&set);
    sigaddset(&set, SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGNAL };
    event.sigev_notify_thread_id = gettid();
    if (timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer) != 0)
        return false;
    own = tg_zalloc(sizeof(struct tg_stacks));
    struct timespec every = { .tv_sec = interval_ms / 1000, .tv_nsec = interval_ms % 1000 * 1000000L };
    struct itimerspec setting = { .it_interval = every, .it_value = every };
    timer_settime(timer, 0, &setting, NULL);
    return true;
}

struct tg_stacks *tg_stacks_stop(void)
{
    struct tg_stacks *all = own;
    if (all != NULL)
        timer_delete(timer);
    own = NULL; /* a signal that is still on its way finds nothing to do */
    return all;
}
