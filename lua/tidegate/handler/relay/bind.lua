-- BIND of the relay protocol: peers come as streams of a mux session, datagrams in frames.

local acceptors = require "tidegate.net.acceptor"
local address = require "tidegate.native.address"
local failure = require "tidegate.failure"
local message = require "tidegate.native.relay_message"
local mux_peers = require "tidegate.net.mux_peers"
local mux_schema = require "tidegate.net.mux_schema"
local refused = require "tidegate.net.refuse"

local OK, BAD_REQUEST, FORBIDDEN, UNAVAILABLE = 0, 1, 3, 5

local function refuse(stream, status, err)
  return refused(stream, message.encode_response { status = status }, err)
end

-- All addresses are those of both families, as a listener of Go takes 0.0.0.0.  gost's client writes ":8000" as
-- the name "0.0.0.0::8000" with port 0, older ones as no name.
local function bind_address(host, port)
  local odd = host and port == 0 and host:match "^[%d.]*::?(%d+)$"
  if odd then
    return ":" .. odd
  elseif not host or host == "" or host == "0.0.0.0" then
    return (":%d"):format(port or 0)
  end
  return address.join(host, port)
end

local function response_with(text)
  local host, port = address.split(text, 0)
  if not host or host == "" or text:sub(1, 1) == "@" then
    host, port = "@", 0
  end
  return message.encode_response { status = OK, host = host, port = port }
end

local function bind_stream(self, ctx, stream, network, where)
  local acceptor, err = acceptors.listen(network == "unix" and "unix:" .. where or where)
  if not acceptor then
    return refuse(stream, UNAVAILABLE, err)
  end
  ctx:own(acceptor)
  local bound = network == "unix" and message.encode_response { status = OK, host = where, port = 0 }
    or response_with(acceptor:address())
  local ok
  ok, err = stream:write(bound)
  if not ok then
    return nil, err:during "response"
  end
  return mux_peers.serve(ctx, stream, acceptor, mux_schema.options(self.md, true), response_with)
end

return function(self, ctx, stream, network, host, port)
  if not self.md.bind then
    return refuse(stream, FORBIDDEN, failure.new("blocked", "BIND is not enabled"))
  end
  local where = network == "unix" and host or bind_address(host, port)
  ctx.network, ctx.target = network, where
  if network == "tcp" or network == "unix" and where then
    return bind_stream(self, ctx, stream, network, where)
  elseif network == "udp" then
    return require("tidegate.handler.relay.udp").bind(self, ctx, stream, where)
  end
  return refuse(stream, BAD_REQUEST, failure.new("unsupported", "BIND of network " .. network))
end
