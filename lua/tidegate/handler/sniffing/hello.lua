-- The `tls` object of a record: what ClientHello and ServerHello say (RFC 8446 4.1).

local bit = require "bit"
local suites = require "tidegate.handler.sniffing.suites"

local M = {}

local VERSIONS = {
  [0x0300] = "sslv3", [0x0301] = "tls1.0", [0x0302] = "tls1.1", [0x0303] = "tls1.2", [0x0304] = "tls1.3",
}
local HANDSHAKE, SERVER_HELLO = 22, 2
local EXTENSION_VERSIONS, EXTENSION_ALPN = 43, 16
local RECORD_MAX = 16384 + 256

local function u16(bytes, at)
  local a, b = bytes:byte(at, at + 1)
  return b and bit.bor(bit.lshift(a, 8), b)
end

local function hex(bytes)
  return (bytes:gsub(".", function(char)
    return ("%02x"):format(char:byte())
  end))
end

local function version_name(number)
  return number and (VERSIONS[number] or ("%d"):format(number)) or ""
end

-- What the extensions of a ServerHello say, which begin at `at`.
local function extensions(out, hello, at)
  local ends = at + 2 + (u16(hello, at) or 0)
  at = at + 2
  while at + 4 <= ends do
    local kind, length = u16(hello, at), u16(hello, at + 2)
    if not length or at + 4 + length > ends then
      return
    elseif kind == EXTENSION_VERSIONS then
      out.version = version_name(u16(hello, at + 4))
    elseif kind == EXTENSION_ALPN and length > 3 then
      out.proto = hello:sub(at + 7, at + 6 + hello:byte(at + 6))
    end
    at = at + 4 + length
  end
end

--- Take a ServerHello apart.
-- @param record the first record of the server
-- @return { version, suite, compression, proto } | nil: it is none
function M.parse(record)
  local hello = record:sub(6)
  if record:byte(1) ~= HANDSHAKE or hello:byte(1) ~= SERVER_HELLO or #hello < 42 then
    return nil
  end
  local at = 39 -- past type, length, version, random
  at = at + 1 + hello:byte(at)
  local suite = u16(hello, at)
  if not suite or not hello:byte(at + 2) then
    return nil
  end
  local out = {
    version = version_name(u16(hello, 5)),
    suite = suites[suite] or ("%d"):format(suite),
    compression = hello:byte(at + 2),
  }
  extensions(out, hello, at + 3)
  return out
end

--- Wait for the server's first record, which stays in the stream.
-- @return bytes | nil
function M.receive(upstream, deadline)
  upstream:set_deadline(deadline)
  local head = upstream:peek(5)
  local length = head and head:byte(1) == HANDSHAKE and u16(head, 4)
  local record = length and length <= RECORD_MAX and upstream:peek(5 + length)
  upstream:set_deadline(nil)
  return record and record:sub(1, 5 + length) or nil
end

--- The object for records of what is inside of TLS that ends here.
-- @param info of the stream, as tidegate.native.tls gives it
function M.ended(hello, info)
  local object = M.object(hello)
  object.proto = info.alpn or object.proto
  object.version = (info.version or ""):gsub("^TLSv1$", "tls1.0"):gsub("^TLSv", "tls")
  object.cipherSuite = info.cipher or ""
  return object
end

--- The object for a record.
-- @param hello as tidegate.native.client_hello gives it
-- @param record the server's first record, or nil
function M.object(hello, record)
  local server = record and M.parse(record) or {}
  return {
    serverName = hello.server_name or "",
    compressionMethod = server.compression or 0,
    proto = server.proto or hello.alpn[1] or "",
    version = server.version or version_name(hello.versions[1] or hello.version),
    cipherSuite = server.suite or "",
    clientHello = hex(hello.bytes),
    serverHello = record and hex(record) or "",
  }
end

return M
