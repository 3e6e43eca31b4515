-- Name servers that others wrote, beside the test.

local programs = require "spec.helpers.programs"
local tls = require "spec.helpers.tls"

local M = {}

local PYTHON = "/usr/bin/python3" -- Debian's own, which has Debian's modules

local UNBOUND = [[
server:
  chroot: ""
  username: ""
  directory: "%(folder)s"
  pidfile: "%(folder)s/unbound.pid"
  use-syslog: no
  verbosity: 1
  do-daemonize: no
  interface: 127.0.0.1@%(port)d
  interface: 127.0.0.1@%(tls)d
  tls-port: %(tls)d
  tls-service-pem: "%(cert)s"
  tls-service-key: "%(key)s"
  do-not-query-localhost: no
  local-zone: "test." static
  local-data: "origin.test. 60 IN A 127.0.0.1"
  local-data: "six.test. 60 IN AAAA ::1"
%(more)s
remote-control:
  control-enable: no
]]

--- Start unbound, which knows that origin.test is 127.0.0.1; it is called dns.test.
-- @param more lines of its configuration, or nil
-- @return port, port of DoT, path of the authority's certificate
function M.unbound(more)
  local authority = tls.authority "dns-interop"
  local certificate = tls.certificate(authority, "dns.test")
  local folder = programs.folder()
  local values = {
    folder = folder, port = programs.free_port(), tls = programs.free_port(),
    cert = certificate.cert, key = certificate.key, more = more or "",
  }
  local text = UNBOUND:gsub("%%%((%w+)%)([sd])", function(name)
    return tostring(values[name])
  end)
  programs.start("unbound", { "-d", "-c", programs.file(folder, "unbound.conf", text) }, { port = values.tls })
  return values.port, values.tls, authority.cert
end

--- Start a DoH server of dnspython, called localhost, which knows the same.
-- @param mode nil, or "error" or "garbage"
-- @return port, path of the authority's certificate, process
function M.doh(mode)
  local authority = tls.authority "dns-interop"
  local certificate = tls.certificate(authority, "localhost")
  local server = programs.start(PYTHON, {
    "spec/interop/peers/doh_server.py", certificate.cert, certificate.key, "origin.test", "127.0.0.1", mode,
  }, { ready = "ready %d+" })
  return server.stdout:match "ready (%d+)", authority.cert, server
end

return M
