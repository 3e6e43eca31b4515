#include "session/ssh2_core.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static int finished(struct tg_ssh2 *m, int code)
{
    if (code == LIBSSH2_ERROR_EAGAIN)
        return TG_AGAIN;
    if (code != 0)
        tg_ssh2_note_reason(m);
    return code == 0 ? 0 : TG_AUTH;
}

static int ask_methods(struct tg_ssh2 *m)
{
    char *list = libssh2_userauth_list(m->ssh, m->user, (unsigned)strlen(m->user));
    if (list == NULL && libssh2_session_last_errno(m->ssh) == LIBSSH2_ERROR_EAGAIN)
        return TG_AGAIN;
    free(m->methods);
    m->methods = list == NULL ? NULL : strdup(list);
    return list == NULL && libssh2_userauth_authenticated(m->ssh) ? 0 : TG_AUTH;
}

static LIBSSH2_USERAUTH_KBDINT_RESPONSE_FUNC(on_questions)
{
    struct tg_ssh2 *m = *abstract;
    (void)name;
    (void)name_len;
    (void)instruction;
    (void)instruction_len;
    (void)prompts;
    for (int i = 0; i < num_prompts; i++) {
        responses[i].text = strdup(m->secret); /* the library frees it */
        responses[i].length = responses[i].text == NULL ? 0 : (unsigned)strlen(m->secret);
    }
}

static void put_bytes(struct tg_ssh2_bytes *b, const void *data, size_t len)
{
    free(b->data);
    b->data = data == NULL ? NULL : malloc(len > 0 ? len : 1);
    b->len = b->data == NULL ? 0 : len;
    if (b->data != NULL)
        memcpy(b->data, data, len);
}

static LIBSSH2_USERAUTH_PUBLICKEY_SIGN_FUNC(on_sign)
{
    struct tg_ssh2 *m = *abstract;
    (void)session;
    if (m->signature.data == NULL) {
        put_bytes(&m->to_sign, data, data_len);
        return -1;
    }
    *sig = malloc(m->signature.len); /* the library frees it */
    if (*sig == NULL)
        return -1;
    memcpy(*sig, m->signature.data, m->signature.len);
    *sig_len = m->signature.len;
    return 0;
}

static int try_agent(struct tg_ssh2 *m)
{
    void *self = m;
    return finished(m, libssh2_userauth_publickey(m->ssh, m->user, m->key.data, m->key.len, on_sign,
                                                  &self));
}

static int try_step(struct tg_ssh2 *m)
{
    unsigned user_len = (unsigned)strlen(m->user);
    switch (m->step) {
    case TG_SSH2_SHAKE:
        return finished(m, libssh2_session_handshake(m->ssh, m->fd));
    case TG_SSH2_NONE:
        return ask_methods(m);
    case TG_SSH2_PASSWORD:
        return finished(m, libssh2_userauth_password_ex(m->ssh, m->user, user_len, m->secret,
                                                        (unsigned)strlen(m->secret), NULL));
    case TG_SSH2_INTERACTIVE:
        return finished(m, libssh2_userauth_keyboard_interactive_ex(m->ssh, m->user, user_len,
                                                                    on_questions));
    case TG_SSH2_AGENT:
        return try_agent(m);
    default:
        return finished(m, libssh2_userauth_publickey_frommemory(m->ssh, m->user, user_len, NULL, 0,
                                                                 m->secret, strlen(m->secret),
                                                                 m->passphrase));
    }
}

static void forget(char **text)
{
    if (*text != NULL)
        explicit_bzero(*text, strlen(*text));
    free(*text);
    *text = NULL;
}

void tg_ssh2_run_step(struct tg_ssh2 *m)
{
    if (!m->stepping)
        return;
    m->result = try_step(m);
    if (m->result == TG_AGAIN)
        return;
    m->stepping = false;
    forget(&m->secret);
    forget(&m->passphrase);
    tg_defer(m->base.reactor, &m->event);
    if (m->step == TG_SSH2_SHAKE && m->result != 0)
        tg_ssh2_die(m, TG_PROTOCOL, "the server does not agree on keys");
}

void tg_ssh2_forget_login(struct tg_ssh2 *m)
{
    put_bytes(&m->key, NULL, 0);
    put_bytes(&m->signature, NULL, 0);
    put_bytes(&m->to_sign, NULL, 0);
    forget(&m->secret);
    forget(&m->passphrase);
    free(m->methods);
    m->methods = NULL;
}

static char *copy_of(const char *text)
{
    char *copy = text == NULL ? NULL : strdup(text);
    if (text != NULL && copy == NULL)
        abort();
    return copy;
}

void tg_ssh2_begin(struct tg_session *s, enum tg_ssh2_step step, const char *secret,
                   const char *passphrase)
{
    struct tg_ssh2 *m = (struct tg_ssh2 *)s;
    assert(!m->stepping);
    m->step = step;
    m->secret = copy_of(secret);
    m->passphrase = copy_of(passphrase);
    m->result = TG_AGAIN;
    m->stepping = true;
    tg_defer(s->reactor, &m->work);
}

void tg_ssh2_begin_agent(struct tg_session *s, const void *key, size_t key_len,
                         const void *signature, size_t signature_len)
{
    struct tg_ssh2 *m = (struct tg_ssh2 *)s;
    put_bytes(&m->key, key, key_len);
    put_bytes(&m->signature, signature, signature_len);
    put_bytes(&m->to_sign, NULL, 0);
    tg_ssh2_begin(s, TG_SSH2_AGENT, NULL, NULL);
}

const void *tg_ssh2_to_sign(const struct tg_session *s, size_t *len)
{
    const struct tg_ssh2_bytes *b = &((const struct tg_ssh2 *)s)->to_sign;
    *len = b->len;
    return b->data;
}

int tg_ssh2_result(const struct tg_session *s)
{
    return ((const struct tg_ssh2 *)s)->result;
}

const char *tg_ssh2_methods(const struct tg_session *s)
{
    return ((const struct tg_ssh2 *)s)->methods;
}
