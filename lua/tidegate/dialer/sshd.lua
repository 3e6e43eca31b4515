-- SSH to a server that forwards ports, OpenSSH for example: what the connector sshd opens its channels over.

local component = require "tidegate.component"
local dial = require "tidegate.net.ssh.dial"
local failure = require "tidegate.failure"

-- What stands for a stream until the connector asks for a channel.
local door = {}
local door_mt = { __name = "tidegate.sshd.door", __index = door }

--- Open a channel.
-- @param open function: session → stream | nil, err
-- @return stream | nil, err
function door:channel(deadline, open)
  return dial.channel(self.dialer, self.ctx, self.node, self.via, deadline, open)
end

--- A session for the caller alone.  @return session | nil, err
function door:session(deadline)
  return dial.own_session(self.dialer, self.ctx, self.node, self.via, deadline)
end

function door:set_deadline() end

--- The session stays for others.
function door:close()
  self.ctx = nil
end

function door:is_closed()
  return self.ctx == nil
end

return component.dialer "sshd" {
  doc = "SSH to a server that forwards ports, for the connector sshd",
  metadata = dial.metadata "SSH_AUTH_SOCK",
  multiplex = true,

  open = function(self)
    local connector = self.node.config.connector
    if not connector or connector.type ~= "sshd" then
      return nil, failure.new("config", "the dialer sshd goes with the connector sshd only")
    end
    return dial.open(self)
  end,

  close = dial.close,

  dial = function(self, ctx, node, _, deadline)
    local via = ctx.via
    local session, err = dial.session(self, ctx, node, via, deadline)
    if not session then
      return nil, err
    end
    return setmetatable({ dialer = self, ctx = ctx, node = node, via = via }, door_mt)
  end,
}
