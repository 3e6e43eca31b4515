-- Certificates for tests, and pairs of streams with TLS between them.

local helpers = require "spec.helpers"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"
local tls = require "tidegate.native.tls"

local M = {}

local directory

--- @return a directory that is there until the process ends
function M.directory()
  if not directory then
    local pipe = assert(io.popen("mktemp -d"))
    directory = pipe:read "*l"
    pipe:close()
  end
  return directory
end

local function run(command, ...)
  local line = command:format(...)
  assert(os.execute(line .. " >/dev/null 2>" .. M.directory() .. "/openssl.log") == 0, line)
end

--- Write `text` to a file of the directory.  @return its path
function M.write(name, text)
  local path = M.directory() .. "/" .. name
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  return path
end

function M.read(path)
  local file = assert(io.open(path))
  local text = file:read "*a"
  file:close()
  return text
end

local authorities = {}

--- @return an authority: { cert = path, key = path }
function M.authority(name)
  if not authorities[name] then
    local cert, key = tls.generate { common_name = name .. " authority" }
    authorities[name] = {
      cert = M.write(name .. "-ca.pem", cert),
      key = M.write(name .. "-ca.key", key),
    }
  end
  return authorities[name]
end

local made = 0

-- `openssl x509` signs nothing that is over already (since OpenSSL 3.4); `openssl ca` does.
local function sign_expired(authority, base)
  local folder = M.directory()
  M.write("index.txt", "")
  local config = M.write("ca.cnf", ("[ca]\ndefault_ca = one\n[one]\ndatabase = %s/index.txt\n"
    .. "new_certs_dir = %s\nrand_serial = yes\ndefault_md = sha256\npolicy = any\n"
    .. "[any]\ncommonName = supplied\n"):format(folder, folder))
  run("openssl ca -batch -notext -config %s -in %s.csr -cert %s -keyfile %s -out %s.pem -extfile %s.ext"
    .. " -startdate 20200101000000Z -enddate 20200102000000Z",
    config, base, authority.cert, authority.key, base, base)
end

--- A certificate signed by `authority`.  @param options san ("DNS:a,IP:1.2.3.4"), days (negative:
-- expired), kind "EC" or "RSA"
-- @return { cert = path, key = path }
function M.certificate(authority, cn, options)
  options = options or {}
  made = made + 1
  local base = ("%s/%d"):format(M.directory(), made)
  run("openssl req -new -newkey %s -nodes -keyout %s.key -out %s.csr -subj '/CN=%s'",
    options.kind == "RSA" and "rsa:2048" or "ec -pkeyopt ec_paramgen_curve:P-256", base, base, cn)
  M.write(made .. ".ext", "subjectAltName=" .. (options.san or "DNS:" .. cn) .. "\n")
  if (options.days or 0) < 0 then
    sign_expired(authority, base)
    return { cert = base .. ".pem", key = base .. ".key" }
  end
  run("openssl x509 -req -in %s.csr -CA %s -CAkey %s -CAcreateserial -out %s.pem -days %d"
    .. " -extfile %s.ext", base, authority.cert, authority.key, base, options.days or 10, base)
  return { cert = base .. ".pem", key = base .. ".key" }
end

local own

--- @return a self-signed certificate for "localhost", as text
function M.self_signed()
  if not own then
    local cert, key = tls.generate { common_name = "localhost" }
    own = { cert = cert, key = key }
  end
  return own
end

function M.server_context(options)
  options = options or {}
  options.role = "server"
  options.certificates = options.certificates or { M.self_signed() }
  return assert(tls.context(options))
end

function M.client_context(options)
  options = options or {}
  options.role = "client"
  return assert(tls.context(options))
end

--- Handshake over two streams that are each other's peer.
-- @return server stream | nil, client stream | nil, server's error, client's error
function M.handshake(a, b, server, client, name)
  local deadline = task.now() + 10000
  local served = helpers.spawn(tls.server, a, server, deadline)
  local c, client_error = tls.client(b, client, name, deadline)
  local s, server_error = served()
  return s, c, server_error, client_error
end

--- The same over a new pair in memory; contexts are made from options (tables).
function M.pair(server, client, name)
  local a, b = stream.pair()
  return M.handshake(a, b, M.server_context(server), M.client_context(client), name)
end

return M
