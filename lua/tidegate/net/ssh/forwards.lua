-- Listening on behalf of a client (tcpip-forward): each connection becomes a channel towards it.

local acceptors = require "tidegate.net.acceptor"
local address = require "tidegate.native.address"
local relay = require "tidegate.native.relay"
local task = require "tidegate.native.task"

local M = {}

local LINGER = 30000
local OPEN_TIMEOUT = 15000 -- ms for the client to accept a channel
local MOST = 64 -- addresses one client may listen on

local options

-- One connection to carry.
local function carry(session, peer, host, port)
  local peer_host, peer_port = address.split(peer:remote_address() or "", 0)
  local stream = session:open(host, port, peer_host or "", peer_port or 0, task.now() + OPEN_TIMEOUT)
  if not stream then
    peer:close()
    return
  end
  options = options or relay.options { linger = LINGER }
  relay.start(peer, stream, options)
end

local function listen(ctx, session, open, host, port)
  local where = host == "*" and "" or host
  local acceptor, err = acceptors.listen(address.join(where, port), task.now() + OPEN_TIMEOUT)
  if not acceptor then
    return nil, err
  end
  ctx:own(acceptor)
  local _, bound = address.split(acceptor:address(), 0)
  local ok
  ok, err = acceptor:start(function(peer)
    carry(session, peer, host, bound)
  end)
  if not ok then
    acceptor:close()
    return nil, err
  end
  open[host .. ":" .. bound] = acceptor
  return bound
end

local function unlisten(open, host, port)
  local key = host .. ":" .. port
  local acceptor = open[key]
  if acceptor then
    acceptor:close()
    open[key] = nil
  end
  return acceptor ~= nil
end

local function count(open)
  local n = 0
  for _ in pairs(open) do
    n = n + 1
  end
  return n
end

local function serve(ctx, session)
  local open = {}
  while true do
    local kind, host, port = session:request()
    if not kind then
      return
    elseif kind == "listen" then
      local bound, err
      if count(open) < MOST then
        bound, err = listen(ctx, session, open, host, port)
      end
      if not bound then
        ctx.log:warn(("the client cannot listen on %s: %s"):format(address.join(host, port),
          tostring(err or "too many addresses")))
      end
      session:answer(bound ~= nil, bound)
    else
      session:answer(kind == "unlisten" and unlisten(open, host, port))
    end
  end
end

--- Serve what the client of a session asks beside channels, until it ends.
function M.start(ctx, session)
  task.spawn(serve, ctx, session)
end

return M
