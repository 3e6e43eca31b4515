-- Who may do what, what is kept of it, and where their items come from.

local notation = require "tidegate.config.objects.notation"

local object, ref = notation.object, notation.ref
local RELOAD, FILE, REDIS, HTTP, PLUGIN = unpack(notation.SOURCES)

object("auth", {
  { "username", "string", "user" },
  { "password", "string", "password" },
  { "file", "string", "file whose first line is: user password" },
})

object("auther", {
  { "name*", "string", "unique name" },
  { "auths", "[]auth", "users" },
  RELOAD, FILE, REDIS, HTTP, PLUGIN,
  { "lockout", "lockout", "what repeated failures lead to" },
})

object("lockout", {
  { "failures", "int", "so many shut a user out, 0: never; 5" }, { "window", "dur", "within so long; 1m" },
  { "duration", "dur", "for so long; 5m" }, { "delay", "dur", "before each refusal; none" },
})

object("file_loader", {
  { "path*", "string", "file" },
})

object("redis_loader", {
  { "addr*", "string", "address" },
  { "db", "int", "number of the database" },
  { "username", "string", "user" },
  { "password", "string", "password" },
  { "key", "string", "key, default gost" },
  { "type", "string", "type of the key" },
  { "timeout", "dur", "limit of one call" },
})

object("http_loader", {
  { "url*", "string", "URL" },
  { "timeout", "dur", "limit; 0: none" },
})

object("plugin", {
  { "type*", "string", "http, else gRPC" },
  { "addr*", "string", "address or URL" },
  { "tls", "tls", "TLS towards the plugin" },
  { "timeout", "dur", "limit of one call" },
  { "token", "string", "sent to the plugin" },
})

object("admission", {
  { "name*", "string", "unique name" },
  { "reverse", "bool", "deprecated, use whitelist" },
  { "whitelist", "bool", "admit only what matches" },
  { "matchers", "[]string", "addresses and networks" },
  { "mmdb", "mmdb", "where geoip: and asn: are looked up; not gost's" },
  RELOAD, FILE, REDIS, HTTP, PLUGIN,
})

object("bypass", {
  { "name*", "string", "unique name" },
  { "reverse", "bool", "deprecated, use whitelist" },
  { "whitelist", "bool", "everything but what matches" },
  { "network", "string", "only for this network" },
  { "matchers", "[]string", "hosts, globs, addresses, networks" },
  { "ruleset", "[]ruleset", "files full of domains; not gost's" },
  { "mmdb", "mmdb", "where geoip: and asn: are looked up; not gost's" },
  RELOAD, FILE, REDIS, HTTP, PLUGIN,
})

object("ruleset", {
  { "file", "string", "file" },
  { "format", "string", "auto, plain, dnsmasq, hosts, v2ray, clash, adblock or patterns" },
}, { bare = "file" })

object("mmdb", {
  { "country", "string", "MMDB file with countries" },
  { "asn", "string", "MMDB file with autonomous systems" },
})

object("resolver", {
  { "name*", "string", "unique name" }, { "nameservers", "[]nameserver", "tried in order" },
  { "parallel", "bool", "ask all at once, the first answer wins; not gost's" },
  { "negativeTTL", "dur", "keep the news that a name is not there so long at most; not gost's" },
  { "cacheSize", "int", "answers kept, default 10000; not gost's" }, PLUGIN,
})

object("nameserver", {
  { "addr*", "string", "udp, tcp, tls or https address, or system" },
  ref("chains", { "chain", "string", "way to it" }),
  { "prefer", "string", "ipv4 or ipv6 first" },
  { "clientIP", "string", "EDNS client subnet" },
  { "hostname", "string", "TLS server name" },
  { "ttl", "dur", "0: as answered, negative: no cache" },
  { "timeout", "dur", "limit of one query" },
  { "async", "bool", "answer from the cache and refresh later" },
  { "only", "string", "ipv4 or ipv6" },
})

object("hosts", {
  { "name*", "string", "unique name" },
  { "mappings", "[]mapping", "names and addresses" },
  RELOAD, FILE, REDIS, HTTP, PLUGIN,
})

object("mapping", {
  { "ip*", "string", "address" },
  { "hostname*", "string", "name" },
  { "aliases", "[]string", "further names" },
})

object("ingress", {
  { "name*", "string", "unique name" },
  { "rules", "[]ingress_rule", "host names to endpoints" },
  RELOAD, FILE, REDIS, HTTP, PLUGIN,
})

object("ingress_rule", {
  { "hostname*", "string", "host name" },
  { "endpoint*", "string", "tunnel" },
})

object("router", {
  { "name*", "string", "unique name" }, { "routes", "[]route", "networks and gateways" },
  { "install", "bool", "false: keep them out of the kernel's table; not gost's" },
  RELOAD, FILE, REDIS, HTTP, PLUGIN,
})

object("route", {
  { "net", "string", "deprecated, use dst" },
  { "dst", "string", "network or name" },
  { "gateway*", "string", "next hop" },
})

for _, name in ipairs { "sd", "rewriter", "observer" } do
  object(name, {
    { "name*", "string", "unique name" },
    PLUGIN,
  })
end

object("recorder", {
  { "name*", "string", "unique name" },
  { "file", "recorder_file", "append to a file" },
  { "tcp", "recorder_tcp", "send over TCP" },
  { "http", "recorder_http", "POST to a URL" },
  { "redis", "redis_loader", "push to Redis" },
  PLUGIN,
})

object("recorder_file", {
  { "path*", "string", "file" },
  { "sep", "string", "between two records" },
  { "rotation", "rotation", "when the file is replaced" },
})

object("recorder_tcp", {
  { "addr*", "string", "address" },
  { "timeout*", "dur", "limit of connecting" },
})

object("recorder_http", {
  { "url*", "string", "URL" },
  { "timeout", "dur", "limit of one request" },
  { "header", "texts", "further headers" },
})

object("recorder_use", {
  ref("recorders", { "name*", "string", "name of a recorder" }),
  { "record*", "string", "what is recorded" },
  { "metadata", "map", "settings" },
})

object("cache", {
  { "name*", "string", "unique name" },
  { "memory", "cache_memory", "keep responses in memory" },
  { "redis", "cache_redis", "keep responses in Redis" },
})

object("cache_memory", {
  { "ttl", "dur", "0: forever" },
  { "maxSize", "int", "entries" },
  { "maxBytes", "int", "bytes" },
  { "cleanupInterval", "dur", "0: off" },
  { "eviction", "string", "oldest or lru" },
})

object("cache_redis", {
  { "addr*", "string", "address" },
  { "db", "int", "number of the database" },
  { "username", "string", "user" },
  { "password", "string", "password" },
  { "ttl", "dur", "0: forever" },
  { "key", "string", "prefix of the keys" },
})

object("limiter", {
  { "name*", "string", "unique name" },
  { "limits", "[]string", "lines of key and limits" },
  RELOAD, FILE, REDIS, HTTP, PLUGIN,
})

object("quota", {
  { "name*", "string", "unique name" },
  { "limit", "string", "bytes with a unit; empty: none" },
  { "startsAt", "string", "RFC 3339" },
  { "expiresAt", "string", "RFC 3339" },
  { "direction", "string", "in, out, else both" },
  { "flush", "string", "how often it is stored, default 10s" },
  { "store", "quota_store", "where it is stored" },
  { "status", "ignored", "read-only state of the API" },
})

object("quota_store", {
  { "type*", "string", "file or redis" },
  { "file", "string", "path, default gost-quota.json" },
  { "redis", "redis_loader", "nothing is stored" },
})
