-- A serial port: one connection at a time, which begins as soon as the port is there.

local alone = require "tidegate.net.alone"
local component = require "tidegate.component"
local serial = require "tidegate.net.serial"

return component.listener "serial" {
  doc = "serial port: DEVICE[,BAUD[,PARITY]]",
  metadata = {
    timeout = {
      type = "duration",
      aliases = { "serial.timeout", "listener.serial.timeout" },
      default = 0,
      doc = "silence of the line that ends the connection; 0: none does",
    },
  },
  trusted = true,

  open = function(self)
    local line, err = serial.parse(self.service.addr)
    return line ~= nil, err
  end,

  serve_alone = function(_, service)
    return alone.serve(service, {
      open = function(now, closed)
        return serial.open(now.addr, { silence = now.listener.md.timeout * 1000 }, closed)
      end,
    })
  end,
}
