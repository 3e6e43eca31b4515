-- gost's file schema as data: every object, its fields in the order in which they are printed.
-- tidegate.config.objects.notation says how they are written down.

local notation = require "tidegate.config.objects.notation"

require "tidegate.config.objects.services"
require "tidegate.config.objects.chains"
require "tidegate.config.objects.policies"
require "tidegate.config.objects.process"

local schema = {}

local objects = notation.objects
schema.objects = objects

notation.object("root", {
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
