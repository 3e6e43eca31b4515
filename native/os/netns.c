#include "os/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int tg_netns_open(const char *name, struct tg_error *err)
{
    static const char *const folders[] = { "/run/netns", "/var/run/netns" };
    if (name[0] == '/') {
        int fd = open(name, O_RDONLY | O_CLOEXEC);
        return fd >= 0 ? fd : tg_error_set(err, "netns", "open", errno);
    }
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        char path[512];
        snprintf(path, sizeof(path), "%s/%s", folders[i], name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0)
            return fd;
    }
    return tg_error_put(err, "netns", "open", TG_INVALID, "no such network namespace");
}

int tg_netns_enter(int netns, struct tg_error *err)
{
    int old = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (old < 0)
        return tg_error_set(err, "netns", "open own", errno);
    if (setns(netns, CLONE_NEWNET) < 0) {
        int code = tg_error_set(err, "netns", "enter", errno);
        close(old);
        return code;
    }
    return old;
}

void tg_netns_leave(int old)
{
    if (setns(old, CLONE_NEWNET) < 0) {
        perror("tidegate: cannot leave a network namespace");
        abort();
    }
    close(old);
}
