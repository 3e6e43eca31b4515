-- What can be wrong with TLS settings: files, versions, cipher suites.

local nearest = require "tidegate.config.nearest"
local native = require "tidegate.native.tls"
local source = require "tidegate.config.source"

local M = {}

local CERTIFICATE, KEY = "-----BEGIN CERTIFICATE-----", "PRIVATE KEY-----"
local VERSIONS = { "VersionTLS10", "VersionTLS11", "VersionTLS12", "VersionTLS13" }

local function is_inline(text)
  return text:find("-----BEGIN", 1, true) ~= nil
end

-- The files a field names, with commas between.
local function each(names)
  local list = {}
  for name in names:gmatch "[^,]+" do
    list[#list + 1] = name:match "^%s*(.-)%s*$"
  end
  return ipairs(list)
end

--- Check that a field's files can be read; PEM text itself is fine too.
-- @param what the message calls it
-- @param marker what must occur in it, or nil
function M.file(report, object, key, path, what, marker)
  local names = object[key] or ""
  if is_inline(names) then
    return
  end
  for _, name in each(names) do
    local text, err = source.read_file(name)
    if not text then
      report:error(object, key, path, "%s %s cannot be read: %s", what, name, err.message)
    elseif marker and not text:find(marker, 1, true) then
      report:error(object, key, path, "%s %s is not in PEM format", what, name)
    end
  end
end

local function check_expiry(report, tls, path)
  local names = tls.certFile or ""
  for _, name in (is_inline(names) and ipairs or each)(is_inline(names) and { names } or names) do
    local left = native.seconds_left(name)
    if left and left <= 0 then
      report:warning(tls, "certFile", path, "certificate %s has expired, %s", is_inline(name) and "(inline)" or name,
        os.date("!on %Y-%m-%d", os.time() + left))
    end
  end
end

local function check_versions(report, options, path)
  for _, key in ipairs { "minVersion", "maxVersion" } do
    local known = (options[key] or "") == ""
    for _, version in ipairs(VERSIONS) do
      known = known or options[key]:lower() == version:lower()
    end
    if not known then
      report:warning(options, key, path, "unknown version %q%s", options[key], nearest.hint(options[key], VERSIONS))
    end
  end
end

-- Those of TLS 1.3 may be named, but are not up to anybody.
local function is_suite(name)
  name = name:upper()
  return name:find "^TLS_AES_" or name:find "^TLS_CHACHA20_POLY1305"
    or native.context { role = "client", verify = "none", min = "1.0", ciphers = { name } } ~= nil
end

local function check_suites(report, options, path)
  for i, name in ipairs(options.cipherSuites or {}) do
    if not is_suite(name) then
      report:warning(options.cipherSuites, i, path .. ".cipherSuites",
        "there is no cipher suite %q here; `openssl ciphers -stdname` lists those there are", name)
    end
  end
end

--- Check a `tls` object.
-- @param report see tidegate.config.report
-- @param tls may be nil
function M.check(report, tls, path)
  if not tls then
    return
  end
  local has_cert, has_key = (tls.certFile or "") ~= "", (tls.keyFile or "") ~= ""
  if has_cert ~= has_key then
    report:error(tls, has_cert and "certFile" or "keyFile", path, "%s without %s",
      has_cert and "certFile" or "keyFile", has_cert and "keyFile" or "certFile")
  end
  M.file(report, tls, "certFile", path, "certificate", CERTIFICATE)
  M.file(report, tls, "keyFile", path, "key", KEY)
  M.file(report, tls, "caFile", path, "authorities", CERTIFICATE)
  check_expiry(report, tls, path)
  if tls.options then
    check_versions(report, tls.options, path .. ".options")
    check_suites(report, tls.options, path .. ".options")
  end
end

return M
