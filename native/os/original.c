#include "os/original.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>

#define ORIGINAL_DST 80 /* SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST; their headers clash with libc's */

int tg_original_destination(int fd, struct sockaddr_storage *out, socklen_t *len,
                            struct tg_error *err)
{
    struct sockaddr_storage own;
    socklen_t own_len = sizeof(own);
    if (getsockname(fd, (struct sockaddr *)&own, &own_len) < 0)
        return tg_error_set(err, "redirect", "local address", errno);
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)&own;
    bool is_six = own.ss_family == AF_INET6 && !IN6_IS_ADDR_V4MAPPED(&six->sin6_addr);
    *len = is_six ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    if (getsockopt(fd, is_six ? SOL_IPV6 : SOL_IP, ORIGINAL_DST, out, len) == 0)
        return 0;
    if (errno == ENOENT || errno == ENOPROTOOPT)
        return tg_error_put(err, "redirect", "original destination", TG_INVALID,
                            "the connection was not redirected by the packet filter");
    return tg_error_set(err, "redirect", "original destination", errno);
}
