/* Coroutines that run a little at a time: what people type must not hold up traffic.
 *
 * A count hook looks at the clock.  At the end of a slice it yields, so that the loop gets its
 * turn; when the time for all is used up it yields as well, and the coroutine is left where it is.
 * Where no yield is possible (a comparator of table.sort, a coroutine within) it raises, and again
 * with every instruction, so that no pcall() gets away with it.  Memory beyond a limit is refused.
 *
 * LuaJIT has one hook and one allocator for all coroutines of a VM; they are ours only while a
 * slice runs.
 */

#include <lauxlib.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

int luaopen_tidegate_native_slice(lua_State *L);

#define CHECK_EVERY 500 /* instructions */

enum why { RUNNING, SLICED, OUT_OF_TIME };

static _Thread_local struct {
    lua_State *co;
    uint64_t slice_end, end; /* ns */
    enum why why;
    lua_Alloc alloc; /* the VM's own */
    void *heap;
    int64_t room; /* bytes it may have besides what it has */
} now;

static uint64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void on_count(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    uint64_t at = clock_ns();
    if (at >= now.end)
        now.why = OUT_OF_TIME;
    else if (now.why == RUNNING && at < now.slice_end)
        return;
    bool can_yield = L == now.co && lua_isyieldable(L);
    if (now.why == RUNNING && !can_yield)
        return; /* the slice is a little longer */
    if (now.why == RUNNING)
        now.why = SLICED;
    if (can_yield) {
        lua_yield(L, 0);
        return;
    }
    lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
    luaL_error(L, "stopped");
}

static void *limited_alloc(void *ud, void *old, size_t old_size, size_t size)
{
    (void)ud;
    int64_t more = (int64_t)size - (int64_t)(old != NULL ? old_size : 0);
    if (more > 0 && more > now.room)
        return NULL; /* Lua raises "not enough memory" */
    void *made = now.alloc(now.heap, old, old_size, size);
    if (made != NULL || size == 0)
        now.room -= more;
    return made;
}

static int resume(lua_State *co, int given)
{
    now.alloc = lua_getallocf(co, &now.heap);
    lua_setallocf(co, limited_alloc, NULL);
    lua_sethook(co, on_count, LUA_MASKCOUNT, CHECK_EVERY);
    int status = lua_resume(co, given);
    lua_sethook(co, NULL, 0, 0);
    lua_setallocf(co, now.alloc, now.heap);
    return status;
}

static const char *outcome(int status)
{
    if (now.why == OUT_OF_TIME)
        return "time";
    if (status == LUA_YIELD)
        return now.why == SLICED ? "slice" : "yield";
    return status == 0 ? "done" : "error";
}

/** run(co, slice_ms, left_ms, memory) -> outcome, ms used, values: go on with a coroutine that has
 * not begun or whose slice was over.  Outcomes: "done" and what it returned; "error" and what it
 * raised; "slice": call again; "yield": it has yielded by itself; "time": it was stopped for good.
 * left_ms: of all its slices; memory: bytes the VM may have */
static int l_run(lua_State *L)
{
    lua_State *co = lua_tothread(L, 1);
    luaL_argcheck(L, co != NULL && co != L, 1, "a coroutine is wanted");
    double slice = luaL_checknumber(L, 2), left = luaL_checknumber(L, 3);
    uint64_t began = clock_ns();
    now.co = co;
    now.why = RUNNING;
    now.slice_end = began + (uint64_t)(slice * 1e6);
    now.end = began + (uint64_t)(left > 0 ? left * 1e6 : 0);
    now.room = (int64_t)(luaL_checknumber(L, 4) - lua_gc(L, LUA_GCCOUNT, 0) * 1024.0);

    int given = lua_status(co) == LUA_YIELD ? 0 : lua_gettop(co) - 1; /* the function lies below */
    int status = resume(co, given);
    const char *what = outcome(status);
    lua_settop(L, 1);
    lua_pushstring(L, what);
    lua_pushnumber(L, (double)(clock_ns() - began) / 1e6);
    int count = 0;
    if (now.why == RUNNING && status == 0)
        count = lua_gettop(co);
    else if (now.why == RUNNING && status != LUA_YIELD)
        count = 1;
    luaL_checkstack(L, count, "too many values");
    lua_xmove(co, L, count);
    return 2 + count;
}

int luaopen_tidegate_native_slice(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "run", l_run },
        { NULL, NULL },
    };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
