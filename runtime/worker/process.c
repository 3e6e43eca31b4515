#include "worker/process.h"

#include "base/mem.h"
#include "watchdog/watchdog.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tg_process tg_process;

struct tg_vm *tg_process_vm(int id)
{
    if (id == 0)
        return &tg_process.control;
    if (id < 1 || id > tg_process.count)
        return NULL;
    return &tg_process.workers[id - 1]->vm;
}

static void *run_worker(void *arg)
{
    struct tg_worker *w = arg;
    char name[16];
    snprintf(name, sizeof(name), "worker-%d", w->vm.id);
    pthread_setname_np(pthread_self(), name);
    tg_watchdog_join(&w->vm);
    tg_vm_run(&w->vm);
    return NULL;
}

/* Signals are the control thread's business. */
static int start_thread(struct tg_worker *w)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int failed = pthread_create(&w->thread, NULL, run_worker, w);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    w->started = failed == 0;
    if (failed)
        fprintf(stderr, "tidegate: cannot start a worker: %s\n", strerror(failed));
    return failed ? -1 : 0;
}

int tg_process_start_workers(int count)
{
    for (int i = 0; i < count; i++) {
        struct tg_worker *w = tg_zalloc(sizeof(*w));
        if (tg_vm_open(&w->vm, i + 1) < 0)
            return -1;
        if (tg_vm_call(&w->vm, "tidegate.process.worker", "main", 0) < 0) {
            fprintf(stderr, "tidegate: %s\n", lua_tostring(w->vm.L, -1));
            return -1;
        }
        tg_process.workers[i] = w;
    }
    tg_process.count = count; /* before any thread looks for its siblings */
    for (int i = 0; i < count; i++)
        if (start_thread(tg_process.workers[i]) < 0)
            return -1;
    return 0;
}

bool tg_process_stop_workers(int patience)
{
    bool clean = true;
    for (int i = 0; i < tg_process.count; i++)
        tg_vm_stop(&tg_process.workers[i]->vm);
    for (int i = 0; i < tg_process.count; i++)
        if (tg_process.workers[i]->started)
            pthread_join(tg_process.workers[i]->thread, NULL);
    for (int i = 0; i < tg_process.count; i++) {
        if (tg_vm_close(&tg_process.workers[i]->vm, clean ? patience : 0))
            free(tg_process.workers[i]);
        else
            clean = false;
    }
    tg_process.count = 0;
    return clean;
}

int tg_process_cpus(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) < 0)
        return 1;
    int n = CPU_COUNT(&set);
    return n < 1 ? 1 : n > TG_WORKERS_MAX ? TG_WORKERS_MAX : n;
}
