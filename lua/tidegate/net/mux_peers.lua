-- Peers of a listening socket as streams of a mux session, on both of its ends.

local failure = require "tidegate.failure"
local relay = require "tidegate.native.relay"
local session = require "tidegate.native.session"
local task = require "tidegate.native.task"

local M = {}

local HEAD_TIMEOUT = 15000 -- ms for the few bytes in front of a peer's
local LINGER = 10000

local relay_options

local function options()
  relay_options = relay_options or relay.options { linger = LINGER }
  return relay_options
end

-- One peer: announce it in front of its bytes, then relay.
local function carry(mux, peer, head_of)
  local stream = mux:open()
  if not stream then
    peer:close()
    return
  end
  local head = head_of(peer:remote_address() or "@")
  if head and not stream:write(head) then
    stream:close()
    peer:close()
    return
  end
  relay.start(peer, stream, options())
end

--- Carry whoever connects to `acceptor` over `stream` until that ends.
-- @param head_of function: peer's address → bytes in front of its stream, or nil for none
-- @return true | nil, err
function M.serve(ctx, stream, acceptor, mux_options, head_of)
  local mux = ctx:own(session.smux(stream, mux_options))
  local ok, err = acceptor:start(function(peer)
    carry(mux, peer, head_of)
  end)
  if not ok then
    return nil, err
  end
  while true do
    local opened
    opened, err = mux:accept()
    if not opened then
      acceptor:close()
      mux:close()
      if err.code == "eof" then
        return true
      end
      return nil, err
    end
    opened:close() -- only we open streams
  end
end

-- The requester's end -------------------------------------------------------------------------------

local methods = {}
local mt = { __name = "tidegate.mux_peers", __index = methods }

--- @param stream behind the reply to a bind request
-- @param address where the server listens
-- @param read_head function: stream → peer's address | nil, err
-- @return acceptor
function M.new(stream, address, mux_options, read_head)
  return setmetatable({
    mux = session.smux(stream, mux_options),
    bound = address,
    read_head = read_head,
  }, mt)
end

--- @return "host:port" where the server listens
function methods:address()
  return self.bound
end

--- Wait for a peer.  @return stream, its address | nil, err: the session's end, or the deadline
function methods:accept(deadline)
  while true do
    local stream, err = self.mux:accept(deadline)
    if not stream then
      return nil, err
    end
    stream:set_deadline(task.now() + HEAD_TIMEOUT)
    local peer
    peer, err = self.read_head(stream)
    if peer then
      stream:set_deadline(nil)
      return stream, peer
    end
    stream:close()
    if not failure.is(err) then
      return nil, failure.wrap(err)
    end
  end
end

function methods:close()
  self.mux:close()
end

return M
