-- Key files of SSH: private keys, and lists of public ones.

local default = require "tidegate.tls.default"
local failure = require "tidegate.failure"
local native = require "tidegate.native.ssh"

local M = {}

local FILE_MAX = 1024 * 1024

local function config_error(message)
  return failure.new("config", message, { op = "ssh" })
end

--- "~/file" with the home directory.
function M.expand(path)
  local rest = path:match "^~(/.*)"
  local home = rest and os.getenv "HOME"
  return home and home .. rest or path
end

local function read(path)
  local file, err = io.open(M.expand(path), "rb")
  if not file then
    return nil, config_error("cannot read " .. err)
  end
  local text = file:read(FILE_MAX)
  file:close()
  return text or ""
end

--- A private key (PEM, PKCS#8 or OpenSSH's own format).
-- @param module whose key() makes it; nil: libssh's
-- @return key | nil, err
function M.private(path, passphrase, module)
  local text, err = read(path)
  if not text then
    return nil, err
  end
  local key
  key, err = (module or native).key(text, passphrase)
  if not key then
    return nil, config_error(path .. ": " .. err.message)
  end
  return key
end

-- A TLS key is the path of a file or its text.
local function of_tls(name)
  if name:find("-----BEGIN", 1, true) then
    return native.key(name)
  end
  return M.private(name:match "^[^,]+")
end

--- The key a server shows: the file's, else that of the service's certificate.
-- @param md metadata with privateKeyFile and passphrase
-- @param tls the listener's `tls` object, or nil
-- @param root the top-level `tls` object, or nil
-- @return key | nil, err
function M.of_host(md, tls, root)
  if md.privateKeyFile and md.privateKeyFile ~= "" then
    return M.private(md.privateKeyFile, md.passphrase)
  elseif tls and tls.keyFile and tls.keyFile ~= "" then
    return of_tls(tls.keyFile)
  end
  local found, err = default.find(root, function(config)
    if config.certFile and config.keyFile and config.keyFile ~= "" then
      return { { cert = config.certFile, key = config.keyFile } }
    end
  end)
  if not found then
    return nil, err
  end
  return of_tls(found.certificates[1].key)
end

local KINDS = { "^ssh%-", "^ecdsa%-sha2%-", "^sk%-" }

local function is_kind(word)
  for _, pattern in ipairs(KINDS) do
    if word:find(pattern) then
      return true
    end
  end
  return false
end

-- Options may stand in front, with spaces in quotes.  @return base64, whether there are options | nil
local function public_of(line)
  local bare = line:gsub('"[^"]*"', "")
  local words = {}
  for word in bare:gmatch "%S+" do
    words[#words + 1] = word
  end
  for i = 1, 2 do
    if words[i] and is_kind(words[i]) then
      return words[i + 1] and words[i + 1]:match "^[%w+/]+=*$", i > 1
    end
  end
end

--- The public keys of a file in OpenSSH's format of authorized_keys.
-- @return set of keys in base64, a line with options or nil | nil, err
function M.authorized(path)
  local text, err = read(path)
  if not text then
    return nil, err
  end
  local keys, restricted, number = {}, nil, 0
  for line in (text .. "\n"):gmatch "(.-)\r?\n" do
    number = number + 1
    local trimmed = line:match "^%s*(.-)%s*$"
    if trimmed ~= "" and trimmed:sub(1, 1) ~= "#" then
      local key, options = public_of(trimmed)
      if not key then
        return nil, config_error(("%s:%d: not a public key"):format(path, number))
      end
      keys[key] = true
      restricted = restricted or options and number or nil
    end
  end
  return keys, restricted
end

return M
