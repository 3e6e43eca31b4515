#include "bind/work.h"

#include "base/mem.h"

#include <luv/luv.h>
#include <string.h>

static void in_pool(uv_work_t *request)
{
    struct tg_work *w = tg_container(request, struct tg_work, request);
    w->run(w);
}

static void back(uv_work_t *request, int status)
{
    struct tg_work *w = tg_container(request, struct tg_work, request);
    lua_State *co = w->waiter.co;
    if (co != NULL && status == 0)
        tg_wake(&w->waiter, w->done(co, w));
    else if (co != NULL)
        tg_wake(&w->waiter, tg_push_failure_text(co, "canceled", "the work was canceled"));
    w->drop(w);
}

void tg_work_check(lua_State *L)
{
    struct tg_waiter nobody;
    memset(&nobody, 0, sizeof(nobody));
    tg_check_parkable(L, &nobody);
}

int tg_work_park(lua_State *L, struct tg_work *w)
{
    memset(&w->waiter, 0, sizeof(w->waiter));
    int code = uv_queue_work(luv_loop(L), &w->request, in_pool, back);
    if (code < 0) {
        w->drop(w);
        return tg_push_failure_text(L, "busy", uv_strerror(code));
    }
    return tg_park(L, &w->waiter, 0);
}
