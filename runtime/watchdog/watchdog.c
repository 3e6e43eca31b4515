#include "watchdog/watchdog.h"

#include "watchdog/watchdog_lua.h"

#include <lauxlib.h>
#include <signal.h>

/* One that nothing else in the process uses: not SIGPROF, which belongs to profilers. */
#define SIGNAL (SIGRTMIN + 6)

/* What the handler needs to know of the thread that it interrupts. */
static _Thread_local struct tg_vm *own;

/* The hook that was there before ours: a script that loads has one. */
static _Thread_local struct {
    lua_Hook fn;
    int mask, count;
} before;

static void interrupt(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    lua_sethook(L, before.fn, before.mask, before.count);
    uint64_t since = atomic_load(&own->reactor.awake_since);
    if (since != 0) /* else the signal came just when it was told to look away */
        tg_watchdog_interrupted(L, (unsigned)(tg_clock_ms() - since), atomic_load(&own->stop_hook));
}

static void on_signal(int number)
{
    (void)number;
    lua_State *L = own != NULL ? own->L : NULL;
    if (L == NULL || lua_gethook(L) == interrupt)
        return;
    before.fn = lua_gethook(L);
    before.mask = lua_gethookmask(L);
    before.count = lua_gethookcount(L);
    lua_sethook(L, interrupt, LUA_MASKCALL | LUA_MASKRET | LUA_MASKCOUNT, 1);
}

void tg_watchdog_join(struct tg_vm *vm)
{
    own = vm;
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
    sigaction(SIGNAL, &action, NULL);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

void tg_watchdog_spare(struct tg_vm *vm, bool on)
{
    atomic_store(&vm->reactor.awake_since, on ? 0 : tg_clock_ms());
}

void tg_watchdog_check(struct tg_vm *vm, pthread_t thread, unsigned report_ms, unsigned stop_ms)
{
    uint64_t since = atomic_load(&vm->reactor.awake_since);
    uint64_t now = tg_clock_ms();
    if (since == 0 || now < since + report_ms)
        return;
    bool stop = stop_ms > 0 && now >= since + stop_ms;
    if (!stop && vm->reported == since)
        return; /* one report a turn is enough */
    vm->reported = since;
    atomic_store(&vm->stop_hook, stop);
    pthread_kill(thread, SIGNAL);
}
