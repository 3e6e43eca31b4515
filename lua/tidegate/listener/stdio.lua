-- Standard input and output: one connection, whose end is the process's.

local alone = require "tidegate.net.alone"
local component = require "tidegate.component"
local device = require "tidegate.native.device"
local failure = require "tidegate.failure"
local message = require "tidegate.process.message"

local taken = false

return component.listener "stdio" {
  doc = "standard input and output: one connection, with which the process ends",
  metadata = {},
  trusted = true,

  serve_alone = function(_, service)
    return alone.serve(service, {
      stays = true,
      open = function(_, closed)
        if taken then
          return nil, failure.new("config", "standard input and output are another service's")
        end
        taken = true
        return device.stdio(closed)
      end,
      over = function(served)
        message.send(0, { type = "finished", code = served and 0 or 1 })
      end,
    })
  end,
}
