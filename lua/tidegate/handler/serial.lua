-- From a serial port to another one, or through a chain whose far end knows the target.

local component = require "tidegate.component"
local failure = require "tidegate.failure"
local missing = require "tidegate.handler.forward.missing"
local recorded = require "tidegate.handler.serial.recorded"

local RECORD = "recorder.service.handler.serial"

-- A target that names a port alone has the settings of the service's line, as with gost.
local function with_settings(address, line)
  return address:find(",", 1, true) and address or address .. (line:match ",.*$" or "")
end

local function connect(self, ctx)
  local forwarder = self.service.forwarder
  if not forwarder then
    -- The far relay is in forward mode, or the last node is the target: what is asked for does not matter.
    return ctx:connect("tcp", "@:0")
  end
  local target, err = forwarder:select(ctx, "serial", "")
  if not target then
    return nil, missing(self, err)
  end
  return require "tidegate.handler.forward.reach"(self, ctx, target, {
    network = "serial", address = with_settings(target.addr, self.service.addr),
  })
end

return component.handler "serial" {
  doc = "joins a serial port and that of the forwarder, or what the chain leads to",
  metadata = {
    timeout = {
      type = "duration",
      aliases = { "serial.timeout" },
      default = 0,
      doc = "silence of both ends that ends the connection; 0: none does",
    },
  },

  open = function(self)
    local service = self.service
    if service and not service.forwarder and not service.chain then
      return nil, failure.new("config", "the handler serial needs a target (serial://A/B) or a chain (-F)")
    end
    self.relay_options = self.md.timeout > 0 and { idle = self.md.timeout * 1000 } or nil
    return true
  end,

  handle = function(self, ctx, stream)
    local upstream, err = connect(self, ctx)
    if not upstream then
      return nil, err
    end
    local bound = self.service.recorders and self.service.recorders[RECORD]
    if bound then
      return recorded(ctx, stream, upstream, bound, self.md.timeout)
    end
    return ctx:relay(stream, upstream, self.relay_options)
  end,
}
