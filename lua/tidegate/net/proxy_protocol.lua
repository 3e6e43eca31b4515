-- The PROXY protocol: who a client behind another proxy really is, read from or written to the
-- first bytes of a connection.

local codec = require "tidegate.native.proxy_header"
local task = require "tidegate.native.task"

local M = {}

local FIRST_BYTE = 10000 -- ms a client may be silent; who speaks later sends no header

local header, encode = codec.header, codec.encode

--- Read a header of either version, if there is one.
-- @param deadline ms on the loop's clock for the first byte and the header; nil: 10 s from now
-- @return src, dst ("ip:port") | nil when there is none, or one without addresses: what was no header
--   stays in the stream | nil, err
function M.read(stream, deadline)
  stream:set_deadline(deadline or task.now() + FIRST_BYTE)
  local ok, err = stream:peek(1)
  if not ok then
    stream:set_deadline(nil)
    return nil, err.code ~= "timeout" and err or nil
  end
  local kind, src, dst = stream:receive(header)
  stream:set_deadline(nil)
  if not kind then
    return nil, src
  elseif kind == "proxy" then
    return src, dst
  end
end

--- Read the header of a client and note in the context who it is.
-- @return stream | nil, err
function M.receive(ctx, stream)
  local src, dst = M.read(stream)
  if src then
    ctx.src, ctx.dst = src, dst
  elseif dst then
    return nil, dst:during "PROXY header"
  end
  return stream
end

-- Sockets without an IP address have a name like "@" or a path.
local function is_known(address)
  return address and address ~= "" and address:find(":", 1, true) ~= nil
end

--- Write a header that names the client of the context.  Nothing is written when its addresses are
-- unknown or cannot be written.
-- @param version 1, or anything else for 2
-- @return true | nil, err
function M.send(ctx, stream, version)
  local src, dst = ctx.client, ctx.dst
  if not is_known(src) or not is_known(dst) then
    return true
  end
  local listener = ctx.service and ctx.service.listener
  local network = listener and listener.network == "udp" and "udp" or "tcp"
  local bytes = encode(version, src, dst, network, network)
  if not bytes then
    return true
  end
  return stream:write(bytes)
end

return M
