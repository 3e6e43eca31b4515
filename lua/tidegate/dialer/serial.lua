-- Serial ports; the node's address is a device, with the settings of the line.

local component = require "tidegate.component"
local serial = require "tidegate.net.serial"

return component.dialer "serial" {
  doc = "serial port: DEVICE[,BAUD[,PARITY]]",
  metadata = {},
  resolves = false,
  proxy_header = false,

  dial = function(_, _, _, address)
    return serial.open(address)
  end,
}
