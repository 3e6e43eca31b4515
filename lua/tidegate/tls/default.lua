-- The certificate of servers that have none of their own: the configuration's, cert.pem and key.pem
-- in the working directory, the one kept in $HOME/.gost, or a new one that is kept there.

local duration = require "tidegate.config.duration"
local failure = require "tidegate.failure"
local log = require "tidegate.process.log"
local native = require "tidegate.native.tls"
local shared = require "tidegate.native.shared"
local uv = require "luv"

local M = {}

local YEAR = 365 * 24 * 3600
local MODE_DIRECTORY, MODE_CERT, MODE_KEY = 448, 420, 384 -- 0700, 0644, 0600

local function exists(path)
  return uv.fs_stat(path) ~= nil
end

-- The files of the configuration.  A CA that cannot be used is left out, as in gost.
local function configured(root, certificates)
  local found, err = certificates(root)
  if not found then
    return nil, err or failure.new("config", "caFile needs certFile and keyFile", { op = "tls" })
  end
  local ca = root.caFile ~= "" and root.caFile or nil
  if ca then
    local ok
    ok, err = native.context { role = "client", verify = "chain", ca = ca }
    if not ok then
      log.default():debug("tls: " .. err.message)
      ca = nil
    end
  end
  return { certificates = found, ca = ca }
end

local function pair(cert, key)
  return { certificates = { { cert = cert, key = key } } }
end

-- struct durations are Go's: a number is nanoseconds
local function seconds(value)
  if type(value) == "number" then
    value = value / 1e9
  elseif type(value) == "string" then
    value = duration.parse(value)
  end
  return value and value > 0 and value or YEAR
end

-- @return true when the whole file is there
local function write(path, text, mode)
  local temporary = ("%s.%d"):format(path, uv.os_getpid())
  local fd = uv.fs_open(temporary, "w", mode)
  if not fd then
    return false
  end
  local written = uv.fs_write(fd, text, -1)
  uv.fs_close(fd)
  if written == #text and uv.fs_rename(temporary, path) then
    return true
  end
  uv.fs_unlink(temporary)
  return false
end

-- The key goes first: a certificate without its key would be found and fail.
local function keep(directory, paths, cert, key)
  if not exists(directory) then
    uv.fs_mkdir(directory, MODE_DIRECTORY)
  end
  return write(paths.key, key, MODE_KEY) and write(paths.cert, cert, MODE_CERT)
end

local function is_usable(paths)
  local left = exists(paths.cert) and exists(paths.key) and native.seconds_left(paths.cert)
  if not left or left <= 0 then
    return false
  end
  return native.context { role = "server", certificates = { paths } } ~= nil
end

local function home()
  local path = os.getenv "HOME"
  return path and path ~= "" and path or nil
end

-- One thread at a time.  Where nothing can be kept the text is shared among the workers.
local function find_or_generate(root)
  local directory = home() and home() .. "/.gost"
  local paths = directory and {
    cert = directory .. "/auto-ca-cert.pem",
    key = directory .. "/auto-ca-key.pem",
  }
  if paths and is_usable(paths) then
    return pair(paths.cert, paths.key)
  end

  local memory = shared.dict "tls.default"
  local cert, key = memory:get "cert", memory:get "key"
  if not cert or native.seconds_left(cert) <= 0 then
    local err
    cert, key = native.generate {
      common_name = root.commonName ~= "" and root.commonName or nil,
      organization = root.organization ~= "" and root.organization or nil,
      validity = seconds(root.validity),
    }
    if not cert then
      err = key
      return nil, err
    end
    memory:set("cert", cert)
    memory:set("key", key)
  end
  if paths and keep(directory, paths, cert, key) then
    return pair(paths.cert, paths.key)
  end
  return pair(cert, key)
end

--- Find the default certificate, or make one.
-- @param root the top-level `tls` object, or nil
-- @param certificates function(tls object) → list of { cert, key }, or nil when it names none
-- @return { certificates = list of { cert, key }, ca = path or nil } | nil, err
function M.find(root, certificates)
  root = root or {}
  for _, key in ipairs { "certFile", "keyFile", "caFile" } do
    if root[key] and root[key] ~= "" then
      return configured(root, certificates)
    end
  end
  if exists "cert.pem" and exists "key.pem" then
    return pair("cert.pem", "key.pem")
  end
  return native.once(function()
    return find_or_generate(root)
  end)
end

return M
