-- Listening on behalf of a client (tcpip-forward): each connection becomes a channel towards it.
--
-- Where it may listen is asked of the listener's metadata, of the key's options, and of the service, as any
-- target: bypasses, hooks.  Who connects there is a client of the service: admission and limits are asked, it is
-- logged and recorded.

local acceptors = require "tidegate.net.acceptor"
local address = require "tidegate.native.address"
local authorized = require "tidegate.net.ssh.authorized"
local failure = require "tidegate.failure"
local task = require "tidegate.native.task"

local M = {}

local OPEN_TIMEOUT = 15000 -- ms for the client to accept a channel
local MOST = 64 -- addresses one client may listen on

-- One connection to carry.
local function carry(state, ctx, peer, where)
  ctx.network, ctx.target = "tcp", where.text
  local peer_host, peer_port = address.split(ctx.remote, 0)
  local stream, err = state.session:open(where.host, where.port, peer_host or "", peer_port or 0,
    task.now() + OPEN_TIMEOUT)
  if not stream then
    return nil, err:during "opening a channel to the client"
  end
  return ctx:relay(peer, ctx:own(stream))
end

-- May it?  @return the address to listen on | nil, err
local function permit(state, host, port)
  local ok, err = state.listener.bind:allows(host, port)
  if not ok then
    return nil, err
  end
  local login = rawget(state.ctx, "login")
  if login and not authorized.may_listen(login, host, port) then
    return nil, failure.new("blocked", "the key's options do not permit it")
  end
  local ctx = state.ctx.service:context()
  ctx.remote, ctx.local_address, ctx.user = state.ctx.client, state.ctx.local_address, rawget(state.ctx, "user")
  ok, err = ctx:allow("tcp", address.join(host, port))
  return ok and ctx.target, err
end

local function listen(state, host, port)
  local at, err = permit(state, host == "*" and "" or host, port)
  if not at then
    return nil, err
  end
  local acceptor
  acceptor, err = acceptors.listen(at, task.now() + OPEN_TIMEOUT)
  if not acceptor then
    return nil, err
  end
  state.ctx:own(acceptor)
  local _, bound = address.split(acceptor:address(), 0)
  local where = { host = host, port = bound, text = acceptor:address() }
  local ok
  ok, err = acceptor:start(function(peer)
    state.ctx.service.seat.service:serve_peer(peer, rawget(state.ctx, "user"), function(ctx, stream)
      return carry(state, ctx, stream, where)
    end)
  end)
  if not ok then
    acceptor:close()
    return nil, err
  end
  state.open[host .. ":" .. bound] = acceptor
  return bound
end

local function unlisten(state, host, port)
  local key = host .. ":" .. port
  local acceptor = state.open[key]
  if acceptor then
    acceptor:close()
    state.open[key] = nil
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

local function serve(state)
  local session = state.session
  while true do
    local kind, host, port = session:request()
    if not kind then
      return
    elseif kind == "listen" then
      local bound, err
      if count(state.open) < MOST then
        bound, err = listen(state, host, port)
      end
      if not bound then
        state.ctx.log:warn(("the client cannot listen on %s: %s"):format(address.join(host, port),
          tostring(err or "too many addresses")))
      end
      session:answer(bound ~= nil, bound)
    else
      session:answer(kind == "unlisten" and unlisten(state, host, port))
    end
  end
end

--- Serve what the client of a session asks beside channels, until it ends.
function M.start(listener, ctx, session)
  task.spawn(serve, { listener = listener, ctx = ctx, session = session, open = {} })
end

return M
