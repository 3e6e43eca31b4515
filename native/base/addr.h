#pragma once

/** @file
 * Socket addresses: IPv4, IPv6 and unix, and their text forms
 * "192.0.2.1:80", "[2001:db8::1]:80", "unix:/run/x.sock", "unix:@abstract".
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

struct tg_addr {
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
        struct sockaddr_storage storage;
    };
    socklen_t len; /**< 0: none */
};

#define TG_ADDR_TEXT 128 /**< enough for every text form */

/** Read a text form; names are not looked up.  A missing host ("" or ":80") is
 * the unspecified IPv6 address.  Brackets around the host are optional for IPv4.
 * @return false: not an address literal */
bool tg_addr_parse(struct tg_addr *a, const char *text, size_t len);

/** Write "ip:port" (IPv4-mapped IPv6 as IPv4), the path of a unix socket, or "@" for an
 * unnamed one.  @return the length; cut to fit */
size_t tg_addr_format(const struct tg_addr *a, char *out, size_t size);

/** The same for a bare sockaddr. */
size_t tg_sockaddr_format(const struct sockaddr *sa, socklen_t len, char *out, size_t size);

void tg_addr_set_port(struct tg_addr *a, unsigned port);
