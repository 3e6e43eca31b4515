-- What listens and handles, and where connections go from there.

local notation = require "tidegate.config.objects.notation"

local object, ref = notation.object, notation.ref

object("service", {
  { "name*", "string", "unique name" },
  { "addr", "string", "listen address" },
  { "interface", "string", "deprecated, use metadata" },
  { "sockopts", "sockopts", "deprecated, use metadata" },
  ref("admissions", { "admission", "string", "must admit the client" }),
  ref("admissions", { "admissions", "[]string", "all must admit the client" }),
  ref("bypasses", { "bypass", "string", "targets this refuses" }),
  ref("bypasses", { "bypasses", "[]string", "targets these refuse" }),
  ref("resolvers", { "resolver", "string", "name servers of this service" }),
  ref("hosts", { "hosts", "string", "static names of this service" }),
  ref("limiters", { "limiter", "string", "bandwidth" }),
  ref("quotas", { "quotas", "[]string", "traffic volume" }),
  ref("climiters", { "climiter", "string", "concurrent connections" }),
  ref("rlimiters", { "rlimiter", "string", "requests per second" }),
  ref("loggers", { "logger", "string", "where log lines go" }),
  ref("loggers", { "loggers", "[]string", "several of them" }),
  ref("observers", { "observer", "string", "is told states and counters" }),
  ref("rewriters", { "rewriter", "string", "no handler reads it" }),
  { "recorders", "[]recorder_use", "what is recorded where" },
  ref("caches", { "cache", "string", "HTTP response cache" }),
  { "handler", "handler", "what is spoken with clients" },
  { "listener", "listener", "how connections come in" },
  { "forwarder", "forwarder", "fixed targets" },
  { "metadata", "map", "further settings" },
  { "status", "ignored", "read-only state of the API" },
})

object("sockopts", { { "mark", "int", "SO_MARK" } })

object("handler", {
  { "type*", "string", "name of a handler, default auto" },
  { "retries", "int", "further attempts after a failed dial" },
  ref("chains", { "chain", "string", "way to the target" }),
  { "chainGroup", "chain_group", "several ways to choose from" },
  ref("authers", { "auther", "string", "who may use it" }),
  ref("authers", { "authers", "[]string", "several; the first that accepts wins" }),
  { "auth", "auth", "one user, or method and password of ss" },
  { "tls", "tls", "TLS inside the protocol (socks5)" },
  ref("limiters", { "limiter", "string", "bandwidth of each user" }),
  ref("observers", { "observer", "string", "is told counters of each user" }),
  { "metadata", "map", "settings of this type" },
})

object("listener", {
  { "type*", "string", "name of a listener, default tcp" },
  ref("chains", { "chain", "string", "way to where it binds (rtcp, rudp)" }),
  { "chainGroup", "chain_group", "several ways to choose from" },
  ref("authers", { "auther", "string", "who may connect (ssh)" }),
  ref("authers", { "authers", "[]string", "several" }),
  { "auth", "auth", "one user (ssh)" },
  { "tls", "tls", "certificate and TLS settings" },
  { "metadata", "map", "settings of this type" },
})

object("forwarder", {
  ref("hops", { "name", "string", "deprecated, use hop" }),
  ref("hops", { "hop", "string", "nodes of a hop are the targets" }),
  { "selector", "selector", "how a target is chosen" },
  { "nodes*", "[]forward_node", "targets" },
  { "hopGroup", "hop_group", "several hops to choose from" },
})

object("forward_node", {
  { "name*", "string", "name" },
  { "addr", "string", "address" },
  { "network", "string", "tcp, udp or unix" },
  ref("bypasses", { "bypass", "string", "match: not this target" }),
  ref("bypasses", { "bypasses", "[]string", "match: not this target" }),
  { "protocol", "string", "deprecated, use filter" },
  { "host", "string", "deprecated, use filter" },
  { "path", "string", "deprecated, use filter" },
  { "filter", "filter", "deprecated, use matcher" },
  { "matcher", "matcher", "only for requests that match" },
  { "auth", "auth", "deprecated, use http.auth" },
  { "http", "http_node", "changes of HTTP requests and responses" },
  { "tls", "tls_node", "speak TLS with this target" },
  { "probe", "probe", "health check" },
  { "metadata", "map", "weight, backup and so on" },
})

object("hop_group", {
  { "hops", "[]hop_group_entry", "hops to choose from" },
  { "selector", "selector", "how one is chosen" },
})

object("hop_group_entry", {
  ref("hops", { "hop", "string", "name of a hop" }),
  { "matcher", "matcher", "only for requests that match" },
  { "probe", "probe", "health check" },
}, { bare = "hop" })
