#include "session/ssh_core.h"

#include <libssh/libssh.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUESTS_MAX (256 * 1024)
#define SIGN 13 /* a message's kind */

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* The last message in what the library wrote, if it is a request for a signature. */
static void find_request(struct tg_ssh_agent *a, const uint8_t *data, size_t len)
{
    size_t at = 0;
    while (len - at > 4) {
        size_t size = (size_t)data[at] << 24 | (size_t)data[at + 1] << 16 | (size_t)data[at + 2] << 8 | data[at + 3];
        if (size == 0 || size > len - at - 4)
            return;
        if (data[at + 4] == SIGN) {
            free(a->request);
            a->request = malloc(size);
            a->request_len = a->request == NULL ? 0 : size;
            if (a->request != NULL)
                memcpy(a->request, data + at + 4, size);
        }
        at += 4 + size;
    }
}

void tg_ssh_leave_agent(struct tg_ssh *m)
{
    struct tg_ssh_agent *a = &m->agent;
    if (a->ours < 0)
        return;
    uint8_t *data = malloc(REQUESTS_MAX);
    size_t len = 0;
    while (data != NULL && len < REQUESTS_MAX) {
        ssize_t n = recv(a->ours, data + len, REQUESTS_MAX - len, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    if (data != NULL)
        find_request(a, data, len);
    free(data);
    close_fd(&a->ours);
    ssh_set_agent_socket(m->ssh, SSH_INVALID_SOCKET); /* which forgets it without closing it */
    close_fd(&a->theirs);
}

/* The library forgets to free its list of keys when it asks for another one: a few hundred bytes for each
 * step but the first. */
int tg_ssh_begin_agent(struct tg_session *s, const void *answers, size_t len)
{
    struct tg_ssh *m = (struct tg_ssh *)s;
    struct tg_ssh_agent *a = &m->agent;
    int pair[2];
    free(a->request);
    a->request = NULL;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return TG_IO;
    if (send(pair[1], answers, len, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)len || shutdown(pair[1], SHUT_WR) != 0 ||
        ssh_set_agent_socket(m->ssh, pair[0]) != SSH_OK) {
        close(pair[0]);
        close(pair[1]);
        return TG_IO;
    }
    a->theirs = pair[0];
    a->ours = pair[1];
    tg_ssh_begin(s, TG_SSH_LOGIN_AGENT, NULL, 0, NULL);
    return 0;
}

const void *tg_ssh_agent_request(const struct tg_session *s, size_t *len)
{
    const struct tg_ssh_agent *a = &((const struct tg_ssh *)s)->agent;
    *len = a->request_len;
    return a->request;
}
