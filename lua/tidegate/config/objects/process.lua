-- Certificates, logs, and the servers of the admin plane.

local notation = require "tidegate.config.objects.notation"

local object, ref = notation.object, notation.ref

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
