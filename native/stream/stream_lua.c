#include "stream/stream_lua.h"

#include "base/mem.h"
#include "bind/class.h"
#include "codec/codec.h"
#include "base/shared_lua.h"
#include "stream/meter_lua.h"
#include "stream/options_lua.h"
#include "stream/pair.h"
#include "stream/tcp.h"

#include <lauxlib.h>
#include <string.h>
#include <sys/socket.h>

int luaopen_tidegate_native_stream(lua_State *L);

#define STREAM_MT "tidegate.stream"
#define READ_ALL_MAX (16u << 20) /* read_exact() and read_until() take no more */
#define WRITE_PARTS 16

/** What a reader waits for. */
enum wish {
    WISH_ANY,     /* whatever there is, at most `size` */
    WISH_EXACT,   /* `size` bytes */
    WISH_PEEK,    /* at least `size` bytes, left where they are */
    WISH_UNTIL,   /* up to the delimiter at stack index 2, at most `size` bytes */
    WISH_MESSAGE, /* what `decoder` understands */
};

/** What Lua holds.  `s` is NULL once closed; the box itself dies by GC.
 *
 * Callbacks point here without a reference.  That is safe: a waiting task has
 * the box on its stack, and __gc closes the stream before the box goes. */
struct box {
    struct tg_stream *s;
    struct tg_waiter reader, writer; /* who waits for the opening is a writer */
    struct tg_stream_side *reading, *writing; /* directions lent to C; NULL: not */
    uint64_t deadline;               /* 0: none */
    const struct tg_decoder *decoder;
    size_t size;   /* of the wish */
    size_t seen;   /* WISH_UNTIL: how far the delimiter was looked for */
    size_t sent;   /* bytes of the arguments written so far */
    enum wish wish;
    bool opening;
    bool shutting; /* the writer waits in shutdown() */
};

/** One attempt.  @return number of results pushed on L, 0 to wait on */
typedef int (*step_fn)(lua_State *L, struct box *b);

static int fail(lua_State *L, const char *op, enum tg_code code, const char *detail)
{
    struct tg_error err;
    tg_error_put(&err, "stream", op, code, detail);
    return tg_push_failure(L, &err);
}

static int fail_closed(lua_State *L)
{
    return fail(L, "use", TG_CLOSED, "the stream is closed");
}

static void on_reader_timeout(struct tg_waiter *w);

/* A box of another kind has another size, or other functions in it: no need to ask for the metatable by
 * its name. */
static struct box *check_box(lua_State *L, int index)
{
    struct box *b = lua_type(L, index) == LUA_TUSERDATA ? lua_touserdata(L, index) : NULL;
    if (b != NULL && lua_objlen(L, index) == sizeof(*b) && b->reader.on_timeout == on_reader_timeout)
        return b;
    return luaL_checkudata(L, index, STREAM_MT);
}

static int step_open(lua_State *L, struct box *b)
{
    if (b->s == NULL)
        return fail_closed(L);
    if (b->s->state == TG_STREAM_OPENING)
        return 0;
    b->opening = false;
    if (b->s->state == TG_STREAM_FAILED) {
        struct tg_error err = b->s->error;
        tg_stream_close(b->s);
        b->s = NULL;
        return tg_push_failure(L, &err);
    }
    lua_pushvalue(L, -1); /* whoever parked left the box on top */
    return 1;
}

static int push_ahead(lua_State *L, struct tg_stream *s, size_t n, bool keep)
{
    lua_pushlstring(L, (const char *)s->ahead->data + s->ahead->start, n);
    if (!keep) {
        s->rx += n;
        tg_stream_consume(s, n);
    }
    return 1;
}

static int try_until(lua_State *L, struct box *b)
{
    struct tg_stream *s = b->s;
    size_t delim_len, held = tg_buf_len(s->ahead);
    const char *delim = lua_tolstring(L, 2, &delim_len);
    const uint8_t *data = s->ahead->data + s->ahead->start;
    size_t from = b->seen >= delim_len ? b->seen - delim_len : 0;
    const uint8_t *hit = held > from ? memmem(data + from, held - from, delim, delim_len) : NULL;
    b->seen = held;
    if (hit != NULL && (size_t)(hit - data) + delim_len <= b->size)
        return push_ahead(L, s, (size_t)(hit - data) + delim_len, false);
    if (hit != NULL || held >= b->size)
        return fail(L, "read", TG_LIMIT, "no delimiter within the limit");
    return 0;
}

static int try_message(lua_State *L, struct box *b)
{
    struct tg_stream *s = b->s;
    struct tg_error err = { .code = TG_OK };
    int results = 0;
    size_t held = tg_buf_len(s->ahead);
    ssize_t n = b->decoder->push(L, s->ahead->data + s->ahead->start, held, &results, &err);
    if (n >= 0) { /* 0: decided without consuming */
        s->rx += (uint64_t)n;
        tg_stream_consume(s, (size_t)n);
        return results;
    }
    if (n == TG_AGAIN && held < b->decoder->limit)
        return 0;
    if (n == TG_AGAIN)
        tg_error_put(&err, b->decoder->name, "decode", TG_LIMIT, "the message is too long");
    return tg_push_failure(L, &err);
}

/* Can the wish be fulfilled from what was read ahead? */
static int try_ahead(lua_State *L, struct box *b)
{
    struct tg_stream *s = b->s;
    if (s->ahead == NULL)
        return 0;
    size_t held = tg_buf_len(s->ahead);
    switch (b->wish) {
    case WISH_ANY:
        return push_ahead(L, s, held < b->size ? held : b->size, false);
    case WISH_EXACT:
        return held < b->size ? 0 : push_ahead(L, s, b->size, false);
    case WISH_PEEK:
        return held < b->size ? 0 : push_ahead(L, s, held, true);
    case WISH_UNTIL:
        return try_until(L, b);
    case WISH_MESSAGE:
        return try_message(L, b);
    }
    return 0;
}

static size_t wish_limit(const struct box *b)
{
    return b->wish == WISH_MESSAGE ? b->decoder->limit : b->size;
}

/* Any bytes are asked for, and there may be more than fitted. */
static void read_on(const struct box *b)
{
    struct tg_stream *s = b->s;
    while (tg_buf_room(s->ahead) == 0 && tg_buf_len(s->ahead) < b->size)
        if (tg_stream_fill(s, b->size) <= 0)
            break; /* what it is will be told when it is read again */
}

static int step_read(lua_State *L, struct box *b)
{
    if (b->s == NULL)
        return fail_closed(L);
    for (;;) {
        int count = try_ahead(L, b);
        if (count > 0)
            return count;
        ssize_t n = tg_stream_fill(b->s, wish_limit(b));
        if (n > 0 && b->wish == WISH_ANY)
            read_on(b);
        if (n > 0)
            continue;
        if (n == TG_AGAIN)
            return 0;
        if (n == 0)
            return fail(L, "read", TG_EOF,
                        b->s->ahead != NULL ? "end of input in the middle of a message"
                                            : "end of input");
        if (n == TG_LIMIT && b->s->state != TG_STREAM_FAILED)
            return fail(L, "read", TG_LIMIT, "too much input");
        return tg_push_failure(L, &b->s->error);
    }
}

/* The arguments not yet written, as iovecs.  @return their number */
static int rest_of_arguments(lua_State *L, size_t sent, struct iovec *iov)
{
    int count = 0, top = lua_gettop(L);
    for (int i = 2; i <= top && count < WRITE_PARTS; i++) {
        size_t len;
        const char *data = lua_tolstring(L, i, &len);
        if (sent >= len) {
            sent -= len;
            continue;
        }
        iov[count++] = (struct iovec){ .iov_base = (char *)data + sent, .iov_len = len - sent };
        sent = 0;
    }
    return count;
}

static int step_write(lua_State *L, struct box *b)
{
    if (b->s == NULL)
        return fail_closed(L);
    for (;;) {
        struct iovec iov[WRITE_PARTS];
        int parts = rest_of_arguments(L, b->sent, iov);
        if (parts == 0)
            break;
        ssize_t n = tg_stream_writev(b->s, iov, parts);
        if (n == TG_AGAIN)
            return 0;
        if (n < 0)
            return tg_push_failure(L, &b->s->error);
        b->sent += (size_t)n;
    }
    lua_pushboolean(L, 1);
    return 1;
}

static int step_shutdown(lua_State *L, struct box *b)
{
    if (b->s == NULL)
        return fail_closed(L);
    int code = tg_stream_shutdown(b->s);
    if (code == TG_AGAIN)
        return 0;
    if (code < 0)
        return tg_push_failure(L, &b->s->error);
    lua_pushboolean(L, 1);
    return 1;
}

/* Which step the writer is at. */
static step_fn writer_step(const struct box *b)
{
    if (b->opening)
        return step_open;
    return b->shutting ? step_shutdown : step_write;
}

/** Ask for what those who wait need, and `next`, who is about to. */
static void want(struct box *b, const struct tg_waiter *next)
{
    unsigned events = 0;
    if (b->reader.co != NULL || next == &b->reader || (b->reading != NULL && b->reading->waits))
        events |= TG_READABLE;
    if (b->writer.co != NULL || next == &b->writer || (b->writing != NULL && b->writing->waits))
        events |= TG_WRITABLE;
    if (b->s != NULL)
        tg_stream_want(b->s, events);
}

static void retry(struct box *b, struct tg_waiter *w, step_fn step)
{
    if (w->co == NULL)
        return;
    int count = step(w->co, b);
    if (count > 0)
        tg_wake(w, count);
}

static void retry_side(struct tg_stream_side *side)
{
    if (side != NULL && side->waits)
        side->ready(side->arg);
}

static void on_ready(void *arg, unsigned events)
{
    struct box *b = arg;
    (void)events; /* a TLS read may need the socket writable: try all who wait */
    /* Readers first: a failed write must not hide an answer that came before. */
    retry(b, &b->reader, step_read);
    retry_side(b->reading);
    retry(b, &b->writer, writer_step(b));
    retry_side(b->writing);
    want(b, NULL);
}

static void timed_out(struct tg_waiter *w, struct box *b, const char *op)
{
    struct tg_error err;
    tg_error_put(&err, b->s != NULL ? b->s->ops->name : "stream", op, TG_TIMEOUT, "timed out");
    if (b->opening && b->s != NULL) {
        tg_stream_close(b->s);
        b->s = NULL;
    }
    tg_wake(w, tg_push_failure(w->co, &err));
}

static void on_reader_timeout(struct tg_waiter *w)
{
    timed_out(w, tg_container(w, struct box, reader), "read");
}

static void on_writer_timeout(struct tg_waiter *w)
{
    struct box *b = tg_container(w, struct box, writer);
    timed_out(w, b, b->opening ? "connect" : "write");
}

/** Do it now, or wait until it can be done. */
static int run(lua_State *L, struct box *b, struct tg_waiter *w, step_fn step, uint64_t deadline)
{
    int count = step(L, b);
    if (count > 0)
        return count;
    want(b, w);
    return tg_park(L, w, deadline);
}

void tg_stream_push(lua_State *L, struct tg_stream *s)
{
    struct box *b = lua_newuserdata(L, sizeof(*b));
    memset(b, 0, sizeof(*b));
    luaL_getmetatable(L, STREAM_MT);
    lua_setmetatable(L, -2);
    b->s = s;
    b->reader.on_timeout = on_reader_timeout;
    b->writer.on_timeout = on_writer_timeout;
    s->on_ready = on_ready;
    s->ready_arg = b;
}

struct tg_stream *tg_stream_check(lua_State *L, int index)
{
    struct box *b = check_box(L, index);
    if (b->reader.co != NULL || b->writer.co != NULL || b->reading != NULL || b->writing != NULL)
        luaL_argerror(L, index, "a task waits in this stream");
    return b->s;
}

struct tg_stream *tg_stream_take(lua_State *L, int index)
{
    struct tg_stream *s = tg_stream_check(L, index);
    if (s != NULL) {
        check_box(L, index)->s = NULL;
        tg_stream_want(s, 0);
        s->on_ready = NULL;
    }
    return s;
}

uint64_t tg_stream_deadline(lua_State *L, int index)
{
    return check_box(L, index)->deadline;
}

int tg_stream_await_open(lua_State *L, int index, uint64_t deadline)
{
    struct box *b = check_box(L, index);
    lua_pushvalue(L, index);
    tg_check_parkable(L, &b->writer);
    b->opening = true;
    return run(L, b, &b->writer, step_open, deadline);
}

static void check_free(lua_State *L, const struct tg_waiter *w, const struct tg_stream_side *side)
{
    if (side != NULL)
        luaL_error(L, "this direction of the stream is busy with a body");
    tg_check_parkable(L, w);
}

struct tg_stream *tg_stream_check_side(lua_State *L, int index, unsigned event)
{
    struct box *b = check_box(L, index);
    if (event == TG_READABLE)
        check_free(L, &b->reader, b->reading);
    else
        check_free(L, &b->writer, b->writing);
    return b->s;
}

static struct tg_stream_side **side_of(struct box *b, unsigned event)
{
    return event == TG_READABLE ? &b->reading : &b->writing;
}

void tg_stream_lend(lua_State *L, int index, unsigned event, struct tg_stream_side *side)
{
    struct box *b = check_box(L, index);
    side->stream = b->s;
    side->box = b;
    side->event = event;
    side->waits = false;
    *side_of(b, event) = side;
}

void tg_stream_side_want(struct tg_stream_side *side, bool waits)
{
    if (side->waits == waits)
        return;
    side->waits = waits;
    want(side->box, NULL);
}

void tg_stream_give_back(struct tg_stream_side *side)
{
    struct box *b = side->box;
    if (b == NULL)
        return;
    *side_of(b, side->event) = NULL;
    side->box = NULL;
    if (side->waits)
        want(b, NULL);
}

static struct box *check_reader(lua_State *L)
{
    struct box *b = check_box(L, 1);
    check_free(L, &b->reader, b->reading);
    return b;
}

static size_t check_size(lua_State *L, int index, size_t most)
{
    lua_Number n = luaL_checknumber(L, index);
    luaL_argcheck(L, n >= 0 && n <= (lua_Number)most, index, "out of range");
    return (size_t)n;
}

static int read_wish(lua_State *L, struct box *b, enum wish wish, size_t size)
{
    b->wish = wish;
    b->size = size;
    b->seen = 0;
    return run(L, b, &b->reader, step_read, b->deadline);
}

/** stream:read([max]) -> bytes | nil, err; err.code is "eof" when the peer sends no more */
static int l_read(lua_State *L)
{
    struct box *b = check_reader(L);
    return read_wish(L, b, WISH_ANY, lua_isnoneornil(L, 2) ? 65536 : check_size(L, 2, READ_ALL_MAX));
}

/** stream:read_exact(n) -> n bytes | nil, err */
static int l_read_exact(lua_State *L)
{
    struct box *b = check_reader(L);
    size_t n = check_size(L, 2, READ_ALL_MAX);
    if (n == 0) {
        lua_pushliteral(L, "");
        return 1;
    }
    return read_wish(L, b, WISH_EXACT, n);
}

/** stream:peek(n) -> all that is there, at least n bytes, not consumed | nil, err */
static int l_peek(lua_State *L)
{
    struct box *b = check_reader(L);
    size_t n = check_size(L, 2, READ_ALL_MAX);
    return read_wish(L, b, WISH_PEEK, n > 0 ? n : 1);
}

/** stream:read_until(delimiter, limit) -> bytes with the delimiter | nil, err */
static int l_read_until(lua_State *L)
{
    struct box *b = check_reader(L);
    size_t len;
    luaL_checklstring(L, 2, &len);
    luaL_argcheck(L, len > 0, 2, "a delimiter is needed");
    return read_wish(L, b, WISH_UNTIL, check_size(L, 3, READ_ALL_MAX));
}

/** stream:receive(decoder) -> what the decoder makes of the next message | nil, err */
static int l_receive(lua_State *L)
{
    struct box *b = check_reader(L);
    luaL_checktype(L, 2, LUA_TLIGHTUSERDATA);
    luaL_argcheck(L, lua_touserdata(L, 2) != NULL, 2, "a decoder is needed");
    b->decoder = lua_touserdata(L, 2);
    return read_wish(L, b, WISH_MESSAGE, 0);
}

/** stream:unread(bytes) -> true | nil, err: they will be read next */
static int l_unread(lua_State *L)
{
    struct box *b = check_box(L, 1);
    size_t len;
    const char *data = luaL_checklstring(L, 2, &len);
    if (b->s == NULL)
        return fail_closed(L);
    if (tg_stream_unread(b->s, data, len) < 0)
        return fail(L, "unread", TG_LIMIT, "too many bytes");
    lua_pushboolean(L, 1);
    return 1;
}

/** stream:write(bytes, ...) -> true | nil, err; returns once the layer below took all of it */
static int l_write(lua_State *L)
{
    struct box *b = check_box(L, 1);
    for (int i = lua_gettop(L); i >= 2; i--)
        luaL_checkstring(L, i);
    check_free(L, &b->writer, b->writing);
    b->sent = 0;
    b->shutting = false;
    return run(L, b, &b->writer, step_write, b->deadline);
}

/** stream:shutdown() -> true | nil, err: nothing more will be written */
static int l_shutdown(lua_State *L)
{
    struct box *b = check_box(L, 1);
    check_free(L, &b->writer, b->writing);
    int count = step_shutdown(L, b);
    if (count > 0)
        return count;
    b->shutting = true;
    want(b, &b->writer);
    return tg_park(L, &b->writer, b->deadline);
}

/** stream:set_deadline(ms | nil): applies to every later call; nil lifts it */
static int l_set_deadline(lua_State *L)
{
    check_box(L, 1)->deadline = tg_opt_deadline(L, 2);
    return 0;
}

static void close_side(struct tg_stream_side *side)
{
    if (side == NULL)
        return;
    side->stream = NULL;
    side->ready(side->arg);
}

/** stream:close(); always succeeds, may be repeated; who waits gets "closed" */
static int l_close(lua_State *L)
{
    struct box *b = check_box(L, 1);
    if (b->s == NULL)
        return 0;
    tg_stream_close(b->s);
    b->s = NULL;
    retry(b, &b->writer, writer_step(b));
    retry(b, &b->reader, step_read);
    close_side(b->reading);
    close_side(b->writing);
    return 0;
}

static int l_gc(lua_State *L)
{
    struct box *b = lua_touserdata(L, 1);
    if (b->s != NULL) {
        tg_stream_close(b->s);
        b->s = NULL;
    }
    return 0;
}

/** stream:interrupt() -> whether a task waited for input here: it gets the error "canceled" */
static int l_interrupt(lua_State *L)
{
    struct box *b = check_box(L, 1);
    bool waits = b->reader.co != NULL;
    if (waits) {
        tg_wake(&b->reader, tg_push_failure_text(b->reader.co, "canceled", "interrupted"));
        want(b, NULL);
    }
    lua_pushboolean(L, waits);
    return 1;
}

/** stream:is_closed() -> true also when it was handed on */
static int l_is_closed(lua_State *L)
{
    lua_pushboolean(L, check_box(L, 1)->s == NULL);
    return 1;
}

static int push_name(lua_State *L, bool peer)
{
    struct box *b = check_box(L, 1);
    struct sockaddr_storage sa;
    socklen_t len;
    if (b->s == NULL || tg_stream_name(b->s, peer, &sa, &len) < 0) {
        lua_pushnil(L);
        return 1;
    }
    char text[TG_ADDR_TEXT];
    lua_pushlstring(L, text, tg_sockaddr_format((struct sockaddr *)&sa, len, text, sizeof(text)));
    return 1;
}

/** stream:local_address() -> "ip:port" | nil */
static int l_local_address(lua_State *L)
{
    return push_name(L, false);
}

/** stream:remote_address() -> "ip:port" | nil */
static int l_remote_address(lua_State *L)
{
    return push_name(L, true);
}

/** stream:layer() -> name of the top layer, "tcp" | nil when closed */
static int l_layer(lua_State *L)
{
    struct box *b = check_box(L, 1);
    if (b->s == NULL)
        lua_pushnil(L);
    else
        lua_pushstring(L, b->s->ops->name);
    return 1;
}

/** stream:peer_user() -> uid of the process at the other end of a unix socket | nil */
static int l_peer_user(lua_State *L)
{
    struct box *b = check_box(L, 1);
    struct ucred who;
    socklen_t len = sizeof(who);
    int fd = b->s == NULL ? -1 : tg_stream_fd(b->s);
    if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0 || who.pid == 0)
        return 0;
    lua_pushnumber(L, (lua_Number)who.uid);
    return 1;
}

/** stream:counts() -> bytes received, bytes sent */
static int l_counts(lua_State *L)
{
    struct box *b = check_box(L, 1);
    lua_pushnumber(L, b->s == NULL ? 0 : (lua_Number)b->s->rx);
    lua_pushnumber(L, b->s == NULL ? 0 : (lua_Number)b->s->tx);
    return 2;
}

/** stream:hold(counter [, limit [, counter, limit]]) → true | false: a counter has reached its limit | nil, err:
 * of each counter one more open stream, until it closes, wherever it goes */
static int l_hold(lua_State *L)
{
    struct box *b = check_box(L, 1);
    return b->s == NULL ? fail_closed(L) : tg_hold_lua(L, tg_stream_holds(b->s));
}

/** stream:add_meter(meter) → true | nil, err: count and limit the stream's bytes until it closes; "in"
 * is what is read */
static int l_add_meter(lua_State *L)
{
    struct box *b = check_box(L, 1);
    struct tg_meter *m = tg_meter_check(L, 2);
    if (b->s == NULL)
        return fail_closed(L);
    tg_stream_add_meter(b->s, m);
    lua_pushboolean(L, 1);
    return 1;
}

static int l_tostring(lua_State *L)
{
    struct box *b = check_box(L, 1);
    lua_pushfstring(L, "stream (%s)", b->s == NULL ? "closed" : b->s->ops->name);
    return 1;
}

/** is_left(one end of a pair) -> whether the other one is closed, and not only finished; true also when this
 * one is closed */
static int l_is_left(lua_State *L)
{
    const struct box *b = check_box(L, 1);
    lua_pushboolean(L, b->s == NULL || tg_stream_pair_is_left(b->s));
    return 1;
}

/** pair() -> two ends of an in-memory stream */
static int l_pair(lua_State *L)
{
    struct tg_stream *a, *b;
    tg_stream_pair(tg_reactor_of(L), TG_BUF_LARGE, &a, &b);
    tg_stream_push(L, a);
    tg_stream_push(L, b);
    return 2;
}

int luaopen_tidegate_native_stream(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "read", l_read },
        { "read_exact", l_read_exact },
        { "read_until", l_read_until },
        { "receive", l_receive },
        { "peek", l_peek },
        { "unread", l_unread },
        { "write", l_write },
        { "shutdown", l_shutdown },
        { "close", l_close },
        { "interrupt", l_interrupt },
        { "is_closed", l_is_closed },
        { "set_deadline", l_set_deadline },
        { "local_address", l_local_address },
        { "remote_address", l_remote_address },
        { "layer", l_layer },
        { "counts", l_counts },
        { "peer_user", l_peer_user },
        { "add_meter", l_add_meter },
        { "hold", l_hold },
        { NULL, NULL },
    };
    static const luaL_Reg functions[] = {
        { "pair", l_pair },
        { "is_left", l_is_left },
        { "dial", tg_stream_dial_lua },
        { "options", tg_socket_options_lua },
        { NULL, NULL },
    };
    tg_class(L, STREAM_MT, methods, l_gc, l_tostring);
    tg_socket_options_open(L);
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
