-- Connectors that say nothing: the node is a forwarder, which knows the target.

local packet = require "tidegate.native.packet"

local M = {}

--- @return the stream that leads to the node
function M.connect(_, _, stream)
  return stream
end

--- Datagrams as they are, over the dialer udp.  @return endpoint | nil, err
function M.packets(_, _, stream)
  return packet.of_stream(stream)
end

return M
