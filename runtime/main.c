/** @file
 * Hands the command line to tidegate.process.control in the control VM and runs
 * its loop until it says with which code to exit.
 */

#include "bind/task.h"
#include "worker/process.h"

#include <fcntl.h>
#include <lauxlib.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

/* How long the end of the process waits for helper threads. */
#define PATIENCE_MS 500

static void push_arguments(lua_State *L, int argc, char **argv)
{
    lua_createtable(L, argc, 1);
    for (int i = 0; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i);
    }
}

/* A connection takes two descriptors: ask for all we may have. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* Whoever started us may have closed them; a socket in their place would get what is logged. */
static void open_standard_descriptors(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

int main(int argc, char **argv)
{
    struct tg_vm *control = &tg_process.control;
    open_standard_descriptors();
    signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    if (tg_vm_open(control, 0) < 0)
        return 1;
    push_arguments(control->L, argc, argv);
    if (tg_vm_call(control, "tidegate.process.control", "main", 1) < 0) {
        fprintf(stderr, "tidegate: %s\n", lua_tostring(control->L, -1));
        return 1;
    }
    tg_vm_run(control);
    bool clean = tg_process_stop_workers(PATIENCE_MS);
    int code = control->exit_code;
    if (!tg_vm_close(control, clean ? PATIENCE_MS : 0) || !clean) {
        fflush(NULL);
        _exit(code);
    }
    return code;
}
