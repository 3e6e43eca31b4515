#include "os/serial.h"

#include <asm/termbits.h> /* any rate: struct termios2; its names exclude those of termios.h */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define LAYER "serial"
#define PTS_FIRST 136u /* major numbers of pseudo terminals, which sysfs does not list */
#define PTS_LAST 143u

static bool is_pts(dev_t device)
{
    return major(device) >= PTS_FIRST && major(device) <= PTS_LAST;
}

/* Whether a character device belongs to the terminals. */
static bool is_terminal(dev_t device)
{
    char path[64], target[256];
    snprintf(path, sizeof(path), "/sys/dev/char/%u:%u/subsystem", major(device), minor(device));
    ssize_t n = readlink(path, target, sizeof(target) - 1);
    if (n < 0)
        return is_pts(device) || access("/sys/dev/char", F_OK) < 0; /* without sysfs isatty() alone decides */
    target[n] = '\0';
    const char *last = strrchr(target, '/');
    return strcmp(last != NULL ? last + 1 : target, "tty") == 0;
}

static unsigned parity_flags(enum tg_parity parity)
{
    switch (parity) {
    case TG_PARITY_ODD:
        return PARENB | PARODD;
    case TG_PARITY_EVEN:
        return PARENB;
    case TG_PARITY_MARK:
        return PARENB | PARODD | CMSPAR;
    case TG_PARITY_SPACE:
        return PARENB | CMSPAR;
    case TG_PARITY_NONE:
        break;
    }
    return 0;
}

static int configure(int fd, const struct tg_serial_options *o, bool checked, struct tg_error *err)
{
    struct termios2 line, got;
    memset(&line, 0, sizeof(line));
    line.c_iflag = IGNPAR;
    line.c_cflag = BOTHER | CS8 | CREAD | CLOCAL | parity_flags(o->parity);
    line.c_ispeed = line.c_ospeed = o->baud;
    line.c_cc[VMIN] = 1;
    if (ioctl(fd, TCSETS2, &line) < 0)
        return errno == EINVAL ? tg_error_put(err, LAYER, "set", TG_INVALID, "the device does not take these settings")
                               : tg_error_set(err, LAYER, "set", errno);
    if (!checked || ioctl(fd, TCGETS2, &got) < 0)
        return 0;
    unsigned parity = PARENB | PARODD | CMSPAR;
    if ((got.c_cflag & parity) != (line.c_cflag & parity))
        return tg_error_put(err, LAYER, "set", TG_INVALID, "the device cannot do this parity");
    uint32_t off = got.c_ospeed > o->baud ? got.c_ospeed - o->baud : o->baud - got.c_ospeed;
    if (off > o->baud / 20)
        return tg_error_put(err, LAYER, "set", TG_INVALID, "the device cannot do this baud rate");
    return 0;
}

static int lock(int fd, struct tg_error *err)
{
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return tg_error_put(err, LAYER, "open", TG_INUSE, "another connection or program uses the device");
    ioctl(fd, TIOCEXCL);
    return 0;
}

static int open_terminal(const char *path, struct stat *st, struct tg_error *err)
{
    struct termios2 line;
    if (stat(path, st) < 0)
        return tg_error_set(err, LAYER, "open", errno);
    if (!S_ISCHR(st->st_mode) || !is_terminal(st->st_rdev))
        return tg_error_put(err, LAYER, "open", TG_INVALID, "not a serial port");
    int fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && errno == EBUSY)
        return tg_error_put(err, LAYER, "open", TG_INUSE, "another connection or program uses the device");
    if (fd < 0)
        return tg_error_set(err, LAYER, "open", errno);
    if (ioctl(fd, TCGETS2, &line) < 0) {
        close(fd);
        return tg_error_put(err, LAYER, "open", TG_INVALID, "not a serial port");
    }
    return fd;
}

int tg_serial_open(const char *path, const struct tg_serial_options *options, struct tg_error *err)
{
    struct stat st;
    int fd = open_terminal(path, &st, err);
    if (fd < 0)
        return fd;
    int code = lock(fd, err);
    if (code == 0)
        code = configure(fd, options, !is_pts(st.st_rdev), err);
    if (code < 0) {
        close(fd);
        return code;
    }
    return fd;
}

void tg_serial_release(int fd)
{
    ioctl(fd, TIOCNXCL);
    flock(fd, LOCK_UN);
}
