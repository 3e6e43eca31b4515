#include "vm/vm.h"

#include "bind/task.h"
#include "embed/embed.h"
#include "vm/pairs.h"
#include "vm/preload.h"

#include <lauxlib.h>
#include <lualib.h>
#include <luv/luv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIVE_MS 3600000
/* Start the next collection at this many percent of what lives.  With the library's 200 the garbage of
 * short connections would be a tenth of the process and more; this costs about a microsecond a connection. */
#define GC_PAUSE 130

static const char vm_key = 0;

struct tg_vm *tg_vm_of(lua_State *L)
{
    lua_pushlightuserdata(L, (void *)&vm_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    struct tg_vm *vm = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return vm;
}

#if defined(__SANITIZE_ADDRESS__) || defined(TIDEGATE_PLAIN_ALLOC)
/* Lets the sanitizer see every object of Lua's. */
static void *plain_alloc(void *ud, void *ptr, size_t osize, size_t nsize)
{
    (void)ud;
    (void)osize;
    if (nsize == 0) {
        free(ptr);
        return NULL;
    }
    return realloc(ptr, nsize);
}

static lua_State *new_state(void)
{
    return lua_newstate(plain_alloc, NULL);
}
#else
static lua_State *new_state(void)
{
    return luaL_newstate();
}
#endif

/* Errors that nobody caught end here: the log when it is up, else stderr. */
static void on_uncaught(lua_State *L, const char *traceback)
{
    lua_getfield(L, LUA_REGISTRYINDEX, "tidegate.uncaught");
    if (lua_isfunction(L, -1)) {
        lua_pushstring(L, traceback);
        if (lua_pcall(L, 1, 0, 0) == 0)
            return;
    }
    lua_pop(L, 1);
    fprintf(stderr, "tidegate: %s\n", traceback);
}

static int add_traceback(lua_State *L)
{
    const char *message = lua_tostring(L, 1);
    luaL_traceback(L, L, message != NULL ? message : "(error without a message)", 1);
    return 1;
}

/* In place of luv's own, which ends the process on an error in a callback. */
static int call_from_luv(lua_State *L, int nargs, int nresults, int flags)
{
    int base = lua_gettop(L) - nargs;
    (void)flags;
    lua_pushcfunction(L, add_traceback);
    lua_insert(L, base);
    int status = lua_pcall(L, nargs, nresults, base);
    lua_remove(L, base);
    if (status != 0) {
        on_uncaught(L, lua_tostring(L, -1));
        lua_pop(L, 1);
        return -status;
    }
    return nresults == LUA_MULTRET ? lua_gettop(L) - base + 1 : nresults;
}

/* package.loaders entry: the folder named by TIDEGATE_LUA_DIR, then what is compiled in. */
static int search_embedded(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    const char *dir = getenv("TIDEGATE_LUA_DIR");
    const void *data;
    size_t size;
    if (dir != NULL && dir[0] != 0) {
        luaL_gsub(L, name, ".", "/");
        static const char *const forms[] = { "%s/%s.lua", "%s/%s/init.lua" };
        for (size_t i = 0; i < 2; i++) {
            char path[1024];
            snprintf(path, sizeof(path), forms[i], dir, lua_tostring(L, -1));
            FILE *f = fopen(path, "r");
            if (f == NULL)
                continue;
            fclose(f);
            return luaL_loadfile(L, path) == 0 ? 1 : lua_error(L);
        }
    }
    if (tg_embed_find(name, &data, &size)) {
        lua_pushfstring(L, "@%s", name);
        return luaL_loadbuffer(L, data, size, lua_tostring(L, -1)) == 0 ? 1 : lua_error(L);
    }
    lua_pushfstring(L, "\n\tno embedded module '%s'", name);
    return 1;
}

static int open_luv(lua_State *L)
{
    return luaopen_luv(L);
}

static void set_loaders(lua_State *L)
{
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    for (const struct tg_preload *p = tg_native_modules; p->name != NULL; p++) {
        lua_pushcfunction(L, p->open);
        lua_setfield(L, -2, p->name);
    }
    lua_pushcfunction(L, open_luv);
    lua_setfield(L, -2, "luv");
    lua_pop(L, 1);

    lua_getfield(L, -1, "loaders"); /* preload, then ours, then files */
    for (int i = (int)lua_objlen(L, -1); i >= 2; i--) {
        lua_rawgeti(L, -1, i);
        lua_rawseti(L, -2, i + 1);
    }
    lua_pushcfunction(L, search_embedded);
    lua_rawseti(L, -2, 2);
    lua_pop(L, 2);
}

/* Give errors made in C the methods of tidegate.failure. */
static int adopt_failures(lua_State *L)
{
    lua_getglobal(L, "require");
    lua_pushliteral(L, "tidegate.failure");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "metatable");
    lua_setfield(L, LUA_REGISTRYINDEX, "tidegate.failure");
    return 0;
}

static void on_uv_ready(void *arg, unsigned events)
{
    struct tg_vm *vm = arg;
    (void)events;
    vm->uv_ready = true;
    tg_watch_blocked(&vm->uv_watch, TG_READABLE);
}

static void on_alive(uv_timer_t *timer)
{
    (void)timer;
}

static int open_loops(struct tg_vm *vm, struct tg_error *err)
{
    if (tg_reactor_open(&vm->reactor, err) < 0)
        return -1;
    int uv = uv_loop_init(&vm->uv);
    if (uv < 0)
        return tg_error_set(err, "libuv", "open loop", -uv);
    /* A loop with nothing but unreferenced handles would neither watch them nor say
     * when it is due. */
    uv_timer_init(&vm->uv, &vm->alive);
    uv_timer_start(&vm->alive, on_alive, ALIVE_MS, ALIVE_MS);
    if (tg_watch_open(&vm->reactor, &vm->uv_watch, uv_backend_fd(&vm->uv), 0, on_uv_ready, vm,
                      err) < 0)
        return -1;
    tg_watch_level(&vm->uv_watch);
    tg_watch_want(&vm->uv_watch, TG_READABLE);
    return tg_mailbox_open(&vm->mailbox, &vm->reactor, err);
}

static lua_State *fresh_state(void)
{
    lua_State *L = new_state();
    luaL_openlibs(L);
    lua_gc(L, LUA_GCSETPAUSE, GC_PAUSE);
    return L;
}

static void settle_in(struct tg_vm *vm, lua_State *L)
{
    vm->L = L;
    tg_pairs_mend(L);
    lua_pushlightuserdata(L, (void *)&vm_key);
    lua_pushlightuserdata(L, vm);
    lua_rawset(L, LUA_REGISTRYINDEX);
    lua_pushthread(L);
    lua_setfield(L, LUA_REGISTRYINDEX, "tidegate.main");
    luv_set_loop(L, &vm->uv);
    luv_set_callback(L, call_from_luv);
    set_loaders(L);
    vm->reactor.owner = vm;
    tg_tasks_open(L, &vm->reactor);
    tg_tasks_on_uncaught(L, on_uncaught);
}

/* L: NULL for a state of its own. */
static int open_vm(struct tg_vm *vm, int id, lua_State *L)
{
    struct tg_error err = { .code = TG_OK };
    memset(vm, 0, sizeof(*vm));
    vm->id = id;
    if (open_loops(vm, &err) < 0) {
        char text[256];
        tg_error_text(&err, text, sizeof(text));
        fprintf(stderr, "tidegate: %s\n", text);
        return -1;
    }
    settle_in(vm, L != NULL ? L : fresh_state());
    if (lua_cpcall(vm->L, adopt_failures, NULL) != 0) {
        fprintf(stderr, "tidegate: %s\n", lua_tostring(vm->L, -1));
        return -1;
    }
    return 0;
}

int tg_vm_open(struct tg_vm *vm, int id)
{
    return open_vm(vm, id, NULL);
}

int tg_vm_adopt(struct tg_vm *vm, lua_State *L)
{
    return open_vm(vm, 0, L);
}

int tg_vm_call(struct tg_vm *vm, const char *module, const char *function, int args)
{
    lua_State *L = vm->L;
    int base = lua_gettop(L) - args + 1;
    lua_pushcfunction(L, add_traceback);
    lua_getglobal(L, "require");
    lua_pushstring(L, module);
    if (lua_pcall(L, 1, 1, -3) != 0)
        return -1;
    lua_getfield(L, -1, function);
    lua_insert(L, base);
    lua_pop(L, 2);
    tg_task_queue(L, args);
    return 0;
}

/* ms until libuv needs a turn. */
static int uv_due(struct tg_vm *vm)
{
    uv_update_time(&vm->uv);
    return uv_backend_timeout(&vm->uv);
}

void tg_vm_run(struct tg_vm *vm)
{
    while (!atomic_load_explicit(&vm->stop, memory_order_relaxed)) {
        bool more = tg_tasks_run(vm->L);
        int timeout = uv_due(vm);
        if (vm->uv_ready || timeout == 0) {
            vm->uv_ready = false;
            uv_run(&vm->uv, UV_RUN_NOWAIT);
            more = true; /* callbacks may have woken tasks, or left work for libuv */
        }
        tg_reactor_turn(&vm->reactor, more ? 0 : timeout);
    }
}

void tg_vm_stop(struct tg_vm *vm)
{
    atomic_store(&vm->stop, true);
    tg_mailbox_wake(&vm->mailbox);
}

static void close_handle(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

bool tg_vm_close(struct tg_vm *vm, int patience)
{
    uv_walk(&vm->uv, close_handle, NULL);
    uint64_t until = uv_hrtime() + (uint64_t)patience * 1000000;
    for (int i = 0; uv_run(&vm->uv, UV_RUN_NOWAIT) != 0; i++) {
        if (i >= 64 && uv_hrtime() >= until)
            return false;
        if (i >= 64)
            uv_sleep(1);
    }
    lua_close(vm->L);
    tg_tasks_close(&vm->reactor);
    tg_mailbox_close(&vm->mailbox);
    tg_watch_close(&vm->uv_watch, true);
    uv_loop_close(&vm->uv);
    tg_reactor_close(&vm->reactor);
    return true;
}
