#include "mailbox/mailbox.h"

#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct tg_message *take_all(struct tg_mailbox *m)
{
    pthread_mutex_lock(&m->lock);
    struct tg_message *list = m->first;
    m->first = NULL;
    m->last = &m->first;
    pthread_mutex_unlock(&m->lock);
    return list;
}

static void on_event(void *arg, unsigned events)
{
    struct tg_mailbox *m = arg;
    uint64_t count;
    (void)events;
    if (read(m->event, &count, sizeof(count)) < 0 && errno == EAGAIN)
        tg_watch_blocked(&m->watch, TG_READABLE);
    for (struct tg_message *list = take_all(m); list != NULL;) {
        struct tg_message *one = list;
        list = one->next;
        if (m->deliver != NULL)
            m->deliver(m->arg, one);
        free(one);
    }
}

int tg_mailbox_open(struct tg_mailbox *m, struct tg_reactor *r, struct tg_error *err)
{
    pthread_mutex_init(&m->lock, NULL);
    m->last = &m->first;
    m->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (m->event < 0)
        return tg_error_set(err, "mailbox", "eventfd", errno);
    if (tg_watch_open(r, &m->watch, m->event, TG_READABLE, on_event, m, err) < 0)
        return err->code;
    tg_watch_want(&m->watch, TG_READABLE);
    return 0;
}

void tg_mailbox_close(struct tg_mailbox *m)
{
    for (struct tg_message *list = take_all(m); list != NULL;) {
        struct tg_message *one = list;
        list = one->next;
        free(one);
    }
    tg_watch_close(&m->watch, false);
    close(m->event);
    pthread_mutex_destroy(&m->lock);
}

void tg_mailbox_wake(struct tg_mailbox *m)
{
    uint64_t one = 1;
    ssize_t n = write(m->event, &one, sizeof(one));
    (void)n; /* full means that it wakes anyway */
}

void tg_mailbox_post(struct tg_mailbox *m, int from, const void *bytes, size_t len)
{
    struct tg_message *message = malloc(sizeof(*message) + len);
    if (message == NULL)
        abort();
    message->next = NULL;
    message->from = from;
    message->len = len;
    memcpy(message->bytes, bytes, len);
    pthread_mutex_lock(&m->lock);
    bool idle = m->first == NULL;
    *m->last = message;
    m->last = &message->next;
    pthread_mutex_unlock(&m->lock);
    if (idle)
        tg_mailbox_wake(m);
}
