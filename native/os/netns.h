#pragma once

/** @file
 * Network namespaces, Linux setns(2).  A thread enters one only for the moment
 * in which a socket is made.
 */

#include "base/error.h"

#include <stddef.h>

/** Open a namespace by name (under /run/netns or /var/run/netns) or by path
 * (starts with '/').  @return a descriptor, or a negative code with `err` */
int tg_netns_open(const char *name, struct tg_error *err);

/** Move this thread into it.  @return a descriptor of the old one for
 * tg_netns_leave(), or a negative code with `err` */
int tg_netns_enter(int netns, struct tg_error *err);

/** Move back and close `old`.  Failing to get back aborts: the thread would go on in the wrong network. */
void tg_netns_leave(int old);
