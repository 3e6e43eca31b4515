-- Key files of SSH.

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

--- What is in a file, at most a mebibyte.  @return text | nil, err
function M.read(path)
  local file, err = io.open(M.expand(path), "rb")
  if not file then
    return nil, config_error("cannot read " .. err)
  end
  local text = file:read(FILE_MAX)
  file:close()
  return text or ""
end

-- Keys in OpenSSH's format begin with its name and that of the cipher, "none" here.
local OPENSSH_PLAIN = "^%s*b3BlbnNzaC1rZXktdjEAAAAABG5vbmU"

local function is_encrypted(text)
  local body = text:match "BEGIN OPENSSH PRIVATE KEY%-+%s*(.*)"
  if body then
    return not body:find(OPENSSH_PLAIN)
  end
  return text:find("ENCRYPTED", 1, true) ~= nil
end

local function why_not(text, passphrase)
  if not text:find("PRIVATE KEY", 1, true) then
    return "not a private key"
  elseif not is_encrypted(text) then
    return "not a private key that can be used here"
  elseif passphrase == nil or passphrase == "" then
    return "the key is encrypted, it needs a passphrase (passphrase, or passphraseFromKeyring)"
  end
  return "wrong passphrase"
end

--- A private key (PEM, PKCS#8 or OpenSSH's own format).
-- @return key, its text | nil, err
function M.private(path, passphrase)
  local text, err = M.read(path)
  if not text then
    return nil, err
  end
  local key = native.key(text, passphrase)
  if not key then
    return nil, config_error(("%s: %s"):format(path, why_not(text, passphrase)))
  end
  return key, text
end

local function quoted(word)
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

-- Where gost's library looks: the secret service of the desktop.
local LOOKUP = "secret-tool lookup service %s username %s"

--- The passphrase of a key: the one given, or with passphraseFromKeyring the one that the keyring has for it.
-- @param user whose it is there; "": the file is its name
-- @return passphrase or nil | nil, err
function M.passphrase(md, user)
  if not md.passphraseFromKeyring then
    return md.passphrase
  end
  local command = LOOKUP:format(quoted("SSH " .. md.privateKeyFile), quoted(user ~= "" and user or md.privateKeyFile))
  local pipe = assert(io.popen(command .. " 2>&1"))
  local found = pipe:read(FILE_MAX)
  if pipe:close() and found and found ~= "" then
    return (found:gsub("\n$", ""))
  end
  return nil, config_error(("%s: no passphrase in the keyring (%s)%s"):format(md.privateKeyFile, command,
    found and ": " .. found:match "^[^\n]*" or ""))
end

-- A TLS key is the path of a file or its text.
local function of_tls(name)
  if name:find("-----BEGIN", 1, true) then
    return native.key(name)
  end
  local key, err = M.private(name:match "^[^,]+")
  return key, not key and err or nil
end

--- The key a server shows: the file's, else that of the service's certificate.
-- @param md metadata with privateKeyFile and passphrase
-- @param tls the listener's `tls` object, or nil
-- @param root the top-level `tls` object, or nil
-- @return key | nil, err
function M.of_host(md, tls, root)
  if md.privateKeyFile and md.privateKeyFile ~= "" then
    local passphrase, err = M.passphrase(md, "")
    if err then
      return nil, err
    end
    local key
    key, err = M.private(md.privateKeyFile, passphrase)
    return key, not key and err or nil
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

return M
