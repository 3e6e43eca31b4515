#pragma once

/** @file
 * Messages between VMs: byte strings (serialized Lua values), in order, copied.
 */

#include "base/reactor.h"

#include <pthread.h>

struct tg_message {
    struct tg_message *next;
    int from; /**< id of the VM that sent it */
    size_t len;
    char bytes[];
};

struct tg_mailbox {
    pthread_mutex_t lock;
    struct tg_message *first, **last; /**< under `lock` */
    struct tg_watch watch;
    int event; /**< eventfd */
    void (*deliver)(void *arg, const struct tg_message *m);
    void *arg;
};

int tg_mailbox_open(struct tg_mailbox *m, struct tg_reactor *r, struct tg_error *err);
void tg_mailbox_close(struct tg_mailbox *m);

/** Put a message in, from any thread. */
void tg_mailbox_post(struct tg_mailbox *m, int from, const void *bytes, size_t len);

/** Wake the owner without a message. */
void tg_mailbox_wake(struct tg_mailbox *m);
