#include "session/session.h"

struct tg_stream *tg_session_open(struct tg_session *s, struct tg_error *err)
{
    if (s->dead) {
        *err = s->error;
        return NULL;
    }
    return s->ops->open(s, err);
}

struct tg_stream *tg_session_accept(struct tg_session *s)
{
    return s->ops->accept(s);
}

void tg_session_close(struct tg_session *s)
{
    s->ops->close(s);
}
