-- What is told when a forwarder has no target for a connection.

local failure = require "tidegate.failure"
local task = require "tidegate.native.task"

local AGAIN = 60000 -- ms after which the same is told once more

local function reason(self)
  local forwarder = self.service.forwarder
  local count = forwarder and forwarder:count()
  if not count then
    return "the service names none; give it a forwarder with nodes, or targets in its URL, as in tcp://:8080/host:port"
  elseif count == 0 then
    return forwarder.name and ("hop %q has no nodes now"):format(forwarder.name)
      or "its forwarder has no nodes; add some, or name a hop"
  end
  local text = ("rules or bypasses keep this from %s"):format(count == 1 and "the only one" or ("all %d"):format(count))
  return self.sniffer and text or text .. "; what rules say of hosts and protocols needs sniffing"
end

--- The error of a connection without a target.  The operator hears of it when the cause is new, and once a minute;
-- else at the level debug.
-- @param self the handler
-- @param err what choosing failed with, or nil
return function(self, err)
  if err then
    return err
  end
  local service, text = self.service, reason(self)
  local told, now = service.no_target, task.now()
  local again = not told or told.text ~= text or now - told.at >= AGAIN
  if again then
    service.no_target = { text = text, at = now }
  end
  return failure.new("config", "no target available: " .. text, { level = again and "warn" or "debug" })
end
