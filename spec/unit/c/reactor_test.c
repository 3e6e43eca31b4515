/* What the kernel is asked only when it matters: readiness for writing, and keepalive. */

#include "codec_check.h"

#include "base/reactor.h"
#include "base/socket.h"
#include "stream/tcp.h"

#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void on_ready(void *arg, unsigned events)
{
    *(unsigned *)arg |= events;
}

static struct tg_reactor *open_reactor(void)
{
    static struct tg_reactor r;
    struct tg_error err;
    assert_int_equal(tg_reactor_open(&r, &err), 0);
    return &r;
}

static void test_writable_again(void **state)
{
    (void)state;
    struct tg_reactor *r = open_reactor();
    struct tg_watch w;
    struct tg_error err;
    unsigned seen = 0;
    char block[4096] = { 0 };
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    assert_int_equal(tg_watch_open(r, &w, ends[0], TG_READABLE | TG_WRITABLE, on_ready, &seen, &err), 0);
    while (send(ends[0], block, sizeof(block), 0) > 0)
        continue;
    tg_watch_blocked(&w, TG_READABLE | TG_WRITABLE);
    tg_watch_want(&w, TG_WRITABLE);
    tg_reactor_turn(r, 0);
    assert_int_equal(seen, 0);
    for (int round = 0; round < 2; round++) { /* the second time the kernel was asked already */
        while (recv(ends[1], block, sizeof(block), 0) > 0)
            continue;
        tg_reactor_turn(r, 1000);
        assert_int_equal(seen & TG_WRITABLE, TG_WRITABLE);
        seen = 0;
        while (send(ends[0], block, sizeof(block), 0) > 0)
            continue;
        tg_watch_blocked(&w, TG_WRITABLE);
        tg_reactor_turn(r, 0);
        assert_int_equal(seen, 0);
    }
    tg_watch_close(&w, false);
    close(ends[0]);
    close(ends[1]);
    tg_reactor_close(r);
}

/* It became writable again before the kernel was asked. */
static void test_writable_meanwhile(void **state)
{
    (void)state;
    struct tg_reactor *r = open_reactor();
    struct tg_watch w;
    struct tg_error err;
    unsigned seen = 0;
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    assert_int_equal(tg_watch_open(r, &w, ends[0], TG_WRITABLE, on_ready, &seen, &err), 0);
    tg_watch_blocked(&w, TG_WRITABLE);
    tg_watch_want(&w, TG_WRITABLE);
    tg_reactor_turn(r, 1000);
    assert_int_equal(seen & TG_WRITABLE, TG_WRITABLE);
    tg_watch_close(&w, false);
    close(ends[0]);
    close(ends[1]);
    tg_reactor_close(r);
}

static int option(const struct tg_stream *s, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof(value);
    assert_int_equal(getsockopt(tg_stream_fd(s), level, name, &value, &len), 0);
    return value;
}

static struct tg_stream *dial(struct tg_reactor *r, const struct tg_addr *to, const struct tg_socket_options *o)
{
    struct tg_error err;
    struct tg_stream *s = tg_tcp_connect(r, to, o, &err);
    assert_non_null(s);
    tg_stream_want(s, TG_WRITABLE);
    for (int i = 0; i < 100 && s->state == TG_STREAM_OPENING; i++)
        tg_reactor_turn(r, 100);
    assert_int_equal(s->state, TG_STREAM_OPEN);
    return s;
}

static void grow_old(struct tg_reactor *r, uint64_t ms)
{
    r->now += ms;
    tg_wheel_run(&r->wheel, r->now);
}

static void test_keepalive(void **state)
{
    (void)state;
    struct tg_reactor *r = open_reactor();
    struct tg_error err;
    struct tg_addr at;
    int fd;
    assert_true(tg_addr_parse(&at, "127.0.0.1:0", 11));
    struct tg_socket_options o = TG_SOCKET_DEFAULTS;
    assert_int_equal(tg_socket_listen(&at, false, &o, 1, &fd, &err), 0);
    assert_int_equal(getsockname(fd, &at.any, &(socklen_t){ sizeof(at.storage) }), 0);

    o.keepalive_idle = 60;
    o.keepalive_interval = 20;
    o.keepalive_count = 4;
    struct tg_stream *late = dial(r, &at, &o), *gone = dial(r, &at, &o);
    o.keepalive_idle = 5;
    struct tg_stream *soon = dial(r, &at, &o);
    o.keepalive_idle = 0;
    struct tg_stream *never = dial(r, &at, &o);
    assert_int_equal(option(soon, SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_int_equal(option(soon, IPPROTO_TCP, TCP_KEEPIDLE), 5);
    tg_stream_close(gone);

    for (int i = 0; i < 3; i++)
        grow_old(r, TG_LATER_MS + TG_TICK_MS);
    assert_int_equal(option(late, SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_int_equal(option(late, IPPROTO_TCP, TCP_KEEPIDLE), 60);
    assert_int_equal(option(late, IPPROTO_TCP, TCP_KEEPINTVL), 20);
    assert_int_equal(option(late, IPPROTO_TCP, TCP_KEEPCNT), 4);
    assert_int_equal(option(never, SOL_SOCKET, SO_KEEPALIVE), 0);
    assert_false(tg_timer_running(&r->later)); /* nobody is left to grow old */
    tg_stream_close(late);
    tg_stream_close(soon);
    tg_stream_close(never);
    close(fd);
    tg_reactor_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writable_again),
        cmocka_unit_test(test_writable_meanwhile),
        cmocka_unit_test(test_keepalive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
