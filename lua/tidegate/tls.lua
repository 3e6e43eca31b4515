-- TLS settings of a configuration (gost's `tls` object) become contexts for handshakes.
--
-- A context is one for all workers: the native part gives equal settings the same.

local default = require "tidegate.tls.default"
local failure = require "tidegate.failure"
local native = require "tidegate.native.tls"

local M = {}

local VERSIONS = {
  versiontls10 = "1.0",
  versiontls11 = "1.1",
  versiontls12 = "1.2",
  versiontls13 = "1.3",
}

local function text(value)
  return value ~= "" and value or nil
end

-- gost ignores versions it does not know.
local function version(name)
  return name and VERSIONS[name:lower()]
end

local function list(value)
  return value and #value > 0 and value or nil
end

-- What `options` says, and the protocols a transport has when nothing is said.
local function read_options(into, options, alpn)
  if not options then
    into.alpn = alpn
    return into
  end
  into.min, into.max = version(options.minVersion), version(options.maxVersion)
  into.ciphers = list(options.cipherSuites)
  into.alpn = list(options.alpn) -- also an empty list replaces the transport's
  return into
end

local function config_error(message)
  return failure.new("config", message, { op = "tls" })
end

-- certFile and keyFile may each name several files, separated by commas.
local function split(names)
  local items = {}
  for name in names:gmatch "[^,]+" do
    items[#items + 1] = name:match "^%s*(.-)%s*$"
  end
  return items
end

-- @return list of { cert, key }, or nil when nothing is configured | nil, err
local function certificates(config)
  local cert, key = text(config.certFile), text(config.keyFile)
  if not cert and not key then
    return nil
  elseif not key then
    return nil, config_error(("certFile %s needs its keyFile"):format(cert))
  elseif not cert then
    return nil, config_error(("keyFile %s needs its certFile"):format(key))
  end
  local certs, keys = split(cert), split(key)
  if #certs ~= #keys then
    return nil, config_error(("%d files in certFile, %d in keyFile"):format(#certs, #keys))
  end
  local pairs_of_files = {}
  for i = 1, #certs do
    pairs_of_files[i] = { cert = certs[i], key = keys[i] }
  end
  return pairs_of_files
end

local function make(settings)
  local context, err = native.context(settings)
  if not context then
    return nil, err:during "tls"
  end
  return context
end

-- Settings of a server that has files of its own, or the default certificate.
local function server_settings(config, root)
  local settings = { role = "server" }
  local err
  settings.certificates, err = certificates(config)
  if err then
    return nil, err
  elseif settings.certificates then
    settings.ca = text(config.caFile)
  else
    local found
    found, err = default.find(root, certificates)
    if not found then
      return nil, err
    end
    settings.certificates, settings.ca = found.certificates, found.ca
  end
  settings.verify = settings.ca and "chain" or "none"
  return settings
end

--- Make the context of a server.
-- @param config its `tls` object, or nil
-- @param root the top-level `tls` object of the configuration, or nil
-- @param alpn the application protocols of the transport, when `config.options` says nothing
-- @return context | nil, err
function M.server(config, root, alpn)
  config = config or {}
  local settings, err = server_settings(config, root)
  if not settings then
    return nil, err
  end
  settings.reject_unknown_sni = config.rejectUnknownSNI or nil
  settings.server_names = list(config.serverNames)
  return make(read_options(settings, config.options, alpn))
end

--- Make the context of a client.
-- Without `secure` nothing is verified, unless caFile is set: then the chain is, but not the name.
-- @param config the `tls` object of a dialer or connector, or nil
-- @param alpn the application protocols of the transport, when `config.options` says nothing
-- @return context | nil, err
function M.client(config, alpn)
  config = config or {}
  local ca = text(config.caFile)
  local settings = {
    role = "client",
    ca = ca,
    verify = config.secure and "full" or ca and "chain" or "none",
  }
  local err
  settings.certificates, err = certificates(config)
  if err then
    return nil, err
  end
  return make(read_options(settings, config.options, alpn))
end

--- Speak TLS over a stream, as a client that comes by once.
-- @param config as for M.client
-- @param host name or address that the server is asked for
-- @return TLS stream; the plain one is used up either way | nil, err
function M.connect(stream, config, host, deadline)
  local context, err = M.client(config)
  if not context then
    return nil, err
  end
  local name = config and text(config.serverName) or host
  return native.client(stream, context, name, deadline)
end

return M
