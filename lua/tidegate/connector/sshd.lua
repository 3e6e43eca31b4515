-- Port forwarding of an SSH server: direct-tcpip, and listening there (tcpip-forward).

local address = require "tidegate.native.address"
local component = require "tidegate.component"
local failure = require "tidegate.failure"
local native = require "tidegate.native.ssh"

-- Reasons of RFC 4254, 5.1.
local REASONS = {
  ["1"] = { "blocked", "forbidden there" },
  ["2"] = { "refused", "it cannot connect" },
  ["3"] = { "unsupported", "it does not forward" },
  ["4"] = { "busy", "out of resources" },
}

local function explain(session, err, target)
  if err.code ~= "refused" then
    return err
  end
  local reason = REASONS[session:last_error():match "error %((%d+)%)"]
  return failure.new(reason and reason[1] or "refused", ("the server refuses the channel: %s"):format(
    reason and reason[2] or session:last_error()), { layer = "ssh", op = "connect", addr = target })
end

local function connect(_, _, door, network, target, deadline)
  if not door.channel then
    return nil, failure.new("config", "the connector sshd goes with the dialer sshd only")
  elseif network ~= "tcp" then
    return nil, failure.new("unsupported", "SSH does not carry " .. network)
  end
  local host, port = address.split(target)
  if not host then
    return nil, failure.new("invalid", ("unusable address %q"):format(target))
  end
  return door:channel(deadline, function(session)
    local stream, err = session:open(host, port, "0.0.0.0", 0, deadline)
    if not stream then
      return nil, explain(session, err, target)
    end
    return stream
  end)
end

-- Peers of a bind as they come, over a session of its own.
local acceptor = {}
local acceptor_mt = { __name = "tidegate.sshd.acceptor", __index = acceptor }

--- @return "host:port" where the server listens
function acceptor:address()
  return self.bound
end

--- Wait for a peer.  @return stream, its address | nil, err: the session's end, or the deadline
function acceptor:accept(deadline)
  local stream, err = self.session:accept(deadline)
  if not stream then
    return nil, err
  end
  local _, _, host, port = native.target(stream)
  return stream, host and address.join(host, port) or "@"
end

function acceptor:close()
  self.session:close()
end

--- Have the server listen for us.
-- @return acceptor: accept([deadline]) → stream, peer | nil, err; address(); close() | nil, err
local function bind(_, _, door, network, target, deadline)
  if not door.session then
    return nil, failure.new("config", "the connector sshd goes with the dialer sshd only")
  elseif network ~= "tcp" then
    return nil, failure.new("unsupported", "an SSH server cannot listen for " .. network)
  end
  local host, port = address.split(target, 0)
  if not host then
    return nil, failure.new("invalid", ("unusable address %q"):format(target))
  end
  host = host == "" and "0.0.0.0" or host
  local session, err = door:session(deadline)
  if not session then
    return nil, err
  end
  local ok, bound = session:listen(host, port, deadline)
  if not ok then
    session:close()
    return nil, ok == nil and bound or failure.new("refused", "the server will not listen: " .. bound,
      { layer = "ssh", op = "bind", addr = target })
  end
  return setmetatable({
    session = session,
    bound = address.join(host, port ~= 0 and port or bound),
  }, acceptor_mt)
end

return component.connector "sshd" {
  doc = "port forwarding of an SSH server, over the dialer sshd",
  metadata = {},

  open = function(self)
    local dialer = self.node and self.node.dialer
    if dialer and dialer.name ~= "sshd" then
      return nil, failure.new("config", "the connector sshd goes with the dialer sshd only")
    end
    return true
  end,

  connect = connect,
  bind = bind,
}
