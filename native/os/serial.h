#pragma once

/** @file
 * Serial ports: opening one, and setting the line.
 *
 * Only terminals are opened: a name may come from a peer, and opening some other device can have effects of
 * its own.  A port is locked (flock, TIOCEXCL) while it is open, since two readers would share its bytes at random.
 */

#include "base/error.h"

#include <stdint.h>

enum tg_parity {
    TG_PARITY_NONE,
    TG_PARITY_ODD,
    TG_PARITY_EVEN,
    TG_PARITY_MARK,
    TG_PARITY_SPACE,
};

struct tg_serial_options {
    uint32_t baud; /**< any rate the driver can do */
    enum tg_parity parity;
};

/** Open a port for 8 data bits and 1 stop bit, raw, without blocking; no flow control, modem lines ignored.
 * @return the descriptor, or a negative code with `err`: TG_REFUSED there is none, TG_INVALID it is no serial port
 * or cannot do this, TG_INUSE, TG_DENIED */
int tg_serial_open(const char *path, const struct tg_serial_options *options, struct tg_error *err);

/** Unlock a port, so that it can be opened again although its closing may wait for the last bytes to leave. */
void tg_serial_release(int fd);
