#pragma once

/** @file
 * The process: its VMs and the threads they run on.
 */

#include "vm/vm.h"

#include <pthread.h>

#define TG_WORKERS_MAX 256

struct tg_worker {
    struct tg_vm vm;
    pthread_t thread;
    bool started; /**< there is a thread to be joined */
};

struct tg_process {
    struct tg_vm control;
    struct tg_worker *workers[TG_WORKERS_MAX]; /**< [0] is VM 1 */
    int count;
};

/** The one process; set up by main() before anything else. */
extern struct tg_process tg_process;

/** @return the VM with that id, NULL: none */
struct tg_vm *tg_process_vm(int id);

/** Open `count` workers and start their threads; each runs
 * require("tidegate.process.worker").main() as its first task.
 * @return 0, or -1 after a line on stderr */
int tg_process_start_workers(int count);

/** Stop, join and close all workers.
 * @param patience, @return see tg_vm_close() */
bool tg_process_stop_workers(int patience);

/** CPUs this process may run on. */
int tg_process_cpus(void);
