#include "relay/pipes.h"

#include "base/mem.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static void destroy(struct tg_pipe *pipe)
{
    close(pipe->in);
    close(pipe->out);
    free(pipe);
}

struct tg_pipe *tg_pipe_get(struct tg_pipes *p)
{
    struct tg_pipe *pipe = p->free;
    if (pipe != NULL) {
        p->free = pipe->next;
        p->count--;
        return pipe;
    }
    int fds[2];
    if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) < 0)
        return NULL;
    pipe = tg_zalloc(sizeof(*pipe));
    pipe->out = fds[0];
    pipe->in = fds[1];
    /* Refused above fs.pipe-user-pages-soft: a smaller pipe does as well. */
    if (fcntl(pipe->in, F_SETPIPE_SZ, (int)TG_PIPE_SIZE) < 0)
        fcntl(pipe->in, F_SETPIPE_SZ, 256 * 1024);
    return pipe;
}

void tg_pipe_put(struct tg_pipes *p, struct tg_pipe *pipe)
{
    if (pipe == NULL)
        return;
    if (pipe->held > 0 || p->count >= TG_PIPE_KEEP) {
        destroy(pipe);
        return;
    }
    pipe->next = p->free;
    p->free = pipe;
    p->count++;
}

void tg_pipes_close(struct tg_pipes *p)
{
    while (p->free != NULL) {
        struct tg_pipe *pipe = p->free;
        p->free = pipe->next;
        destroy(pipe);
    }
    p->count = 0;
}
