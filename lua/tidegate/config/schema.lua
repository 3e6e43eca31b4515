-- gost's file schema as data: every object, its fields in the order in which they are printed.
--
-- A field is { name, type, … }.  Types: string int bool dur map (free metadata) texts (map of text)
-- ignored (read-only in gost), the name of an object, or "[]" and one of these for a list.
--   always  printed even when empty
--   json    its name in JSON, where that differs
--   bare    (objects) a plain text stands for an object with this field
--   ref     the value names an object of this list of the root
--   omit    left out of JSON when empty although `always` is set

local schema = {}

local objects = {}
schema.objects = objects

-- Turn the short notation below into fields: "name*" is always printed.
local function object(name, fields, extra)
  local made = extra or {}
  made.name, made.fields, made.by_key = name, {}, {}
  for i, short in ipairs(fields) do
    local field = {}
    for key, value in pairs(short) do
      field[key] = value
    end
    field.name, field.always = short[1]:gsub("%*$", "")
    field.always = field.always > 0
    field.type = short[2]
    field.doc = short[3]
    field.item = field.type:match("^%[%](.+)$")
    field[1], field[2], field[3] = nil, nil, nil
    made.fields[i] = field
    made.by_key[field.name:lower()] = field
  end
  objects[name] = made
end

local function ref(list, field)
  field.ref = list
  return field
end

local RELOAD = { "reload", "dur", "how often the sources below are read again; 0: once" }
local FILE = { "file", "file_loader", "read items from a file" }
local REDIS = { "redis", "redis_loader", "read items from Redis" }
local HTTP = { "http", "http_loader", "read items from a URL" }
local PLUGIN = { "plugin", "plugin", "ask a plugin instead" }

object("root", {
  { "services*", "[]service", "what listens" },
  { "chains", "[]chain", "ways through proxies" },
  { "hops", "[]hop", "hops used by name" },
  { "authers", "[]auther", "who may use a service" },
  { "admissions", "[]admission", "which clients are let in" },
  { "bypasses", "[]bypass", "which targets are refused or go around a node" },
  { "resolvers", "[]resolver", "name servers" },
  { "hosts", "[]hosts", "static names" },
  { "ingresses", "[]ingress", "host names to tunnel endpoints" },
  { "routers", "[]router", "routes of virtual networks" },
  { "sds", "[]sd", "service discovery" },
  { "recorders", "[]recorder", "where records go" },
  { "rewriters", "[]rewriter", "plugins that change bodies" },
  { "caches", "[]cache", "HTTP response caches" },
  { "limiters", "[]limiter", "bandwidth limits" },
  { "quotas", "[]quota", "traffic volume quotas" },
  { "climiters", "[]limiter", "limits of concurrent connections" },
  { "rlimiters", "[]limiter", "limits of request rates" },
  { "observers", "[]observer", "plugins that are told events" },
  { "loggers", "[]logger", "loggers used by name" },
  { "tls", "tls", "the default certificate" },
  { "log", "log", "the default logger" },
  { "profiling", "profiling", "profiling server" },
  { "api", "api", "REST API server" },
  { "metrics", "metrics", "Prometheus server" },
  { "scripts", "[]string", "Lua files to load; not gost's" },
})

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

object("chain_group", {
  { "chains", "[]chain_group_entry", "chains to choose from" },
  { "selector", "selector", "how one is chosen" },
  { "fallback", "string", "direct: dial directly when all have failed; not gost's" },
})

object("chain_group_entry", {
  ref("chains", { "chain", "string", "name of a chain" }),
  { "matcher", "matcher", "only for requests that match" },
  { "probe", "probe", "health check" },
}, { bare = "chain" })

object("chain", {
  { "name*", "string", "unique name" },
  { "hops*", "[]hop", "hops in order: whole ones, or names of hops" },
  { "metadata", "map", "stored" },
})

object("hop", {
  { "name*", "string", "name" },
  { "interface", "string", "deprecated, use metadata" },
  { "sockopts", "sockopts", "deprecated, use metadata" },
  { "selector", "selector", "how a node is chosen" },
  ref("bypasses", { "bypass", "string", "match: the route ends here" }),
  ref("bypasses", { "bypasses", "[]string", "match: the route ends here" }),
  ref("resolvers", { "resolver", "string", "resolves addresses of nodes" }),
  ref("hosts", { "hosts", "string", "resolves addresses of nodes" }),
  { "nodes", "[]node", "proxies to choose from" },
  RELOAD, FILE, REDIS, HTTP, PLUGIN,
  { "metadata", "map", "defaults of its nodes" },
})

object("node", {
  { "name*", "string", "name" },
  { "addr", "string", "address of the proxy" },
  { "network", "string", "tcp, udp or unix" },
  ref("bypasses", { "bypass", "string", "match: not this node" }),
  ref("bypasses", { "bypasses", "[]string", "match: not this node" }),
  ref("resolvers", { "resolver", "string", "resolves its address" }),
  ref("hosts", { "hosts", "string", "resolves its address" }),
  { "connector", "connector", "what is spoken with the proxy" },
  { "dialer", "dialer", "how it is reached" },
  { "interface", "string", "deprecated, use metadata" },
  { "netns", "string", "deprecated, use metadata" },
  { "sockopts", "sockopts", "deprecated, use metadata" },
  { "filter", "filter", "deprecated, use matcher" },
  { "matcher", "matcher", "only for requests that match" },
  { "http", "http_node", "changes of HTTP requests and responses" },
  { "tls", "tls_node", "speak TLS with the target" },
  { "probe", "probe", "health check" },
  { "metadata", "map", "weight, backup and so on" },
})

for _, name in ipairs { "connector", "dialer" } do
  object(name, {
    { "type*", "string", "name of a " .. name .. ", default " ..
      (name == "dialer" and "tcp" or "http") },
    { "auth", "auth", "user and password for the proxy" },
    { "tls", "tls", "TLS settings" },
    { "metadata", "map", "settings of this type" },
  })
end

object("selector", {
  { "strategy*", "string", "round, random, fifo, hash, parallel, lowestlatency, leastconn, p2c or ewma" },
  { "maxFails*", "int", "failures before an item is left out" },
  { "failTimeout*", "dur", "for how long it is left out" },
  { "maxLatency", "dur", "leave out what the last probe found slower" },
  { "filters", "[]string", "filters of scripts, in order; not gost's" },
})

object("filter", {
  { "host", "string", "host of the request" },
  { "protocol", "string", "sniffed protocol" },
  { "path", "string", "prefix of the path" },
})

object("matcher", {
  { "rule", "string", "boolean expression over the request" },
  { "priority", "int", "0: length of the rule" },
  { "bodySize", "int", "bytes of a body that are looked at" },
})

object("http_node", {
  { "host", "string", "replaces the Host header" },
  { "header", "texts", "deprecated, use requestHeader" },
  { "requestHeader", "texts", "set; an empty value deletes" },
  { "responseHeader", "texts", "set; an empty value deletes" },
  { "rewrite", "[]url_rewrite", "deprecated, use rewriteURL" },
  { "rewriteURL", "[]url_rewrite", "changes of the path" },
  { "rewriteBody", "[]body_rewrite", "deprecated, use rewriteResponseBody" },
  { "rewriteRequestBody", "[]body_rewrite", "changes of request bodies" },
  { "rewriteResponseBody", "[]body_rewrite", "changes of response bodies" },
  { "failCodes", "string", "status codes that mark the node failed" },
  { "auth", "auth", "HTTP Basic for clients of this node" },
})

object("url_rewrite", {
  { "match*", "string", "regular expression", json = "Match" },
  { "replacement*", "string", "replacement", json = "Replacement" },
})

object("body_rewrite", {
  { "type*", "string", "MIME types", json = "Type" },
  { "match*", "string", "regular expression, or json:path", json = "Match" },
  { "replacement*", "string", "replacement", json = "Replacement" },
  ref("rewriters", { "rewriter", "string", "a plugin does it" }),
  { "maxChunkSize", "int", "bytes; longer bodies of unknown length pass" },
})

object("tls_node", {
  { "serverName", "string", "SNI" },
  { "secure", "bool", "verify the certificate" },
  { "options", "tls_options", "versions, ciphers, ALPN" },
})

object("probe", {
  { "type*", "string", "tcp, http or cmd" },
  { "addr*", "string", "address", omit = true },
  { "interval*", "dur", "time between two probes" },
  { "timeout*", "dur", "limit of one probe" },
  { "httpPath", "string", "path that is asked for" },
  { "httpHost", "string", "Host header" },
  { "httpHeaders", "texts", "further headers" },
  { "expectedStatus", "int", "status that means healthy" },
  { "command", "string", "shell command; exit 0 means healthy" },
})

object("tls", {
  { "certFile", "string", "certificate chain, PEM" },
  { "keyFile", "string", "private key, PEM" },
  { "caFile", "string", "authorities that clients or servers are verified with, PEM" },
  { "secure", "bool", "verify the server" },
  { "serverName", "string", "SNI" },
  { "options", "tls_options", "versions, ciphers, ALPN" },
  { "validity", "dur", "of the generated certificate" },
  { "commonName", "string", "of the generated certificate" },
  { "organization", "string", "of the generated certificate" },
  { "rejectUnknownSNI", "bool", "refuse clients that name another server" },
  { "serverNames", "[]string", "names clients may ask for" },
})

object("tls_options", {
  { "minVersion", "string", "VersionTLS10 … VersionTLS13" },
  { "maxVersion", "string", "VersionTLS10 … VersionTLS13" },
  { "cipherSuites", "[]string", "TLS_… names" },
  { "alpn", "[]string", "replaces the list of protocols, also when empty" },
})

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

object("logger", {
  { "name*", "string", "unique name" },
  { "log", "log", "what it does" },
})

object("log", {
  { "output", "string", "stderr, stdout, none or a file" },
  { "level", "string", "trace debug info warn error fatal" },
  { "format", "string", "text or json" },
  { "rotation", "rotation", "when a file is replaced" },
})

object("rotation", {
  { "maxSize", "int", "megabytes" },
  { "maxAge", "int", "days" },
  { "maxBackups", "int", "files kept" },
  { "localTime", "bool", "local time in names" },
  { "compress", "bool", "gzip old files" },
})

object("profiling", {
  { "addr*", "string", "listen address" },
})

object("api", {
  { "addr*", "string", "listen address, or unix://path" },
  { "pathPrefix", "string", "before all paths" },
  { "accesslog", "bool", "log requests" }, { "auth", "auth", "one user" },
  ref("authers", { "auther", "string", "who may use it" }),
  { "eval", "bool", "let those who are authenticated evaluate Lua; not gost's" },
  { "saveAnywhere", "bool", "let the configuration be saved in any folder; not gost's" },
  { "origins", "[]string", "origins (scheme, host and port) whose pages may ask; default: all; not gost's" },
})

object("metrics", {
  { "addr*", "string", "listen address, or unix://path" },
  { "path", "string", "path, default /metrics" }, { "auth", "auth", "one user" },
  ref("authers", { "auther", "string", "who may use it" }),
  { "noClient", "bool", "leave the label client empty: one series of each service; not gost's" },
})

-- What a script defines leaves an object with its name, so that names can be checked.
for _, name in ipairs {
  "auther", "admission", "bypass", "resolver", "hosts", "ingress", "router", "sd", "observer", "recorder",
  "rewriter", "cache", "limiter", "quota", "hop", "chain",
} do
  local field = { name = "scripted", type = "bool", doc = "a script defines it", always = false }
  table.insert(objects[name].fields, field)
  objects[name].by_key.scripted = field
end

--- The lists of named objects of the root, in load order (what others refer to comes first).
schema.LISTS = {
  "loggers", "authers", "admissions", "bypasses", "resolvers", "hosts", "ingresses", "routers", "sds", "observers",
  "recorders", "rewriters", "caches", "limiters", "quotas", "climiters", "rlimiters", "hops", "chains", "services",
}

--- The other lists of the root, joined like those.
schema.PLAIN_LISTS = { "scripts" }

--- The single objects of the root; a later source replaces them whole.
schema.SINGLES = { "tls", "log", "profiling", "api", "metrics" }

--- @return an object: { name, fields = {…}, by_key = { lower-cased name → field } }
function schema.object(name)
  return objects[name]
end

return schema
