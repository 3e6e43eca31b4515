-- Plain clients of the handlers: what they say is written here, byte by byte or by a codec, and not by a connector.

local address = require "tidegate.native.address"
local base64 = require "tidegate.net.http.base64"
local relay = require "tidegate.native.relay_message"
local socks = require "tidegate.native.socks"
local ss = require "tidegate.native.ss"

local M = {}

local function http(s, target, secret)
  s:write(("CONNECT %s HTTP/1.1\r\nHost: %s\r\nProxy-Authorization: Basic %s\r\n\r\n"):format(target, target,
    base64.encode(secret.user .. ":" .. secret.password)))
  local head = assert(s:read_until("\r\n\r\n", 4096))
  assert(head:find "^HTTP/1.1 200 ", head)
  return s
end

local function socks4(s, target, secret)
  local host, port = address.split(target)
  s:write(socks.encode_request4(1, host, port, secret.user))
  assert(s:receive(socks.reply4) == 90, "no grant")
  return s
end

local function socks5(s, target, secret)
  local host, port = address.split(target)
  s:write "\5\1\2"
  assert(s:read_exact(2) == "\5\2", "no password is asked for")
  s:write(("\1%c%s%c%s"):format(#secret.user, secret.user, #secret.password, secret.password))
  assert(s:read_exact(2) == "\1\0", "the password is refused")
  s:write((socks.encode_request5(1, host, port)))
  assert(s:receive(socks.reply5) == 0, "no success")
  return s
end

-- A connection over which nothing needs to be said.
local function nothing(s)
  return s
end

--- handler → function(stream, target, { user, password }) → stream that leads to the target.
-- false: a handler that is not for plain streams
M.open = {
  api = nothing,
  auto = http,
  file = nothing,
  forward = nothing,
  http = http,
  http2 = http,
  metrics = nothing,
  relay = function(s, target, secret)
    local host, port = address.split(target)
    s:write((relay.encode_request {
      cmd = 1, user = secret.user, pass = secret.password, host = host, port = port,
    }))
    assert(assert(s:receive(relay.response)).status == 0, "the status is not 0")
    return s
  end,
  sni = nothing,
  socks4 = socks4,
  socks5 = socks5,
  ss = function(s, target, secret)
    return ss.client(s, ss.key(secret.user, secret.password), target)
  end,
  sshd = false, -- SSH clients: spec/interop/ssh_spec.lua
  ssu = false, -- datagrams: spec/interop/matrix
  tcp = nothing,
  udp = nothing,
  unix = nothing,
}

return M
