#include "os/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

int tg_folder_open(const char *path, struct tg_error *err)
{
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 ? fd : tg_error_set(err, "file", "open folder", errno);
}

int tg_folder_at(int folder, const char *path, int flags, struct tg_error *err)
{
    struct open_how how = {
        .flags = (uint64_t)(unsigned)flags | O_CLOEXEC | ((flags & O_PATH) != 0 ? 0 : O_NOCTTY),
        .mode = (flags & O_CREAT) != 0 ? 0666 : 0,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };
    long fd;
    do
        fd = syscall(SYS_openat2, folder, path[0] == 0 ? "." : path, &how, sizeof(how));
    while (fd < 0 && (errno == EINTR || errno == EAGAIN));
    if (fd >= 0)
        return (int)fd;
    if (errno == EXDEV || errno == ELOOP)
        return tg_error_put(err, "file", "open", TG_DENIED, "the path leads out of the folder");
    return tg_error_set(err, "file", "open", errno);
}
