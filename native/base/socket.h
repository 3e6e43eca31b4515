#pragma once

/** @file
 * Sockets with the options a configuration can ask for, and listening sockets.
 */

#include "base/addr.h"
#include "base/error.h"

/** Options of outgoing and listening sockets.  All zero is not the default: use TG_SOCKET_DEFAULTS. */
struct tg_socket_options {
    bool nodelay;       /**< TCP_NODELAY */
    bool fastopen;      /**< TCP Fast Open: connect with the first data; accept with data */
    bool mptcp;         /**< multipath TCP, plain TCP when the kernel lacks it */
    bool reuseport;     /**< listening only: share the port with other processes */
    bool transparent;   /**< IP_TRANSPARENT */
    int keepalive_idle; /**< seconds; 0: keepalive off */
    int keepalive_interval;
    int keepalive_count;
    int mark;           /**< SO_MARK; 0: none */
    int netns;          /**< descriptor of a network namespace; -1: our own */
    int backlog;        /**< listening only */
    char interface[16]; /**< SO_BINDTODEVICE; "": none */
    struct tg_addr bind; /**< source address; len 0: any */
};

#define TG_SOCKET_DEFAULTS \
    { .nodelay = true, .keepalive_idle = 15, .keepalive_interval = 15, .keepalive_count = 9, \
      .netns = -1, .backlog = 4096 }

/** A non-blocking stream socket for connecting to an address of `family`, without keepalive yet.
 * @return the descriptor, or a negative code with `err` */
int tg_socket_stream(int family, const struct tg_socket_options *o, struct tg_error *err);

/** A non-blocking datagram socket; bound to o->bind when that is set.
 * @return the descriptor, or a negative code with `err` */
int tg_socket_datagram(int family, const struct tg_socket_options *o, struct tg_error *err);

/** `count` sockets on one address, one per worker: streams (listening) or
 * datagrams.  Another process on that address is TG_INUSE although they share it
 * among themselves.  Port 0 is chosen by the kernel once for all.  With `only_v4`
 * a missing host means 0.0.0.0.
 * @return 0 with fds[0..count) filled, or a negative code with `err` and nothing open */
int tg_socket_listen(const struct tg_addr *at, bool datagrams, const struct tg_socket_options *o,
                     int count, int *fds, struct tg_error *err);

/** TCP keepalive as in `o`. */
void tg_socket_keepalive(int fd, const struct tg_socket_options *o);
