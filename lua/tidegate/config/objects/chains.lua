-- Ways through proxies, how one of several is chosen, and what is done to HTTP on the way.

local notation = require "tidegate.config.objects.notation"

local object, ref = notation.object, notation.ref
local RELOAD, FILE, REDIS, HTTP, PLUGIN = unpack(notation.SOURCES)

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
