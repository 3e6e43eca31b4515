-- A proxy that keeps some sites for after work: a bypass that looks at the clock.
-- Run it with:  tidegate -C examples/work-hours.lua
local tg = require "tidegate"

local FUN = { ["video.example"] = true, ["games.example"] = true }
local FROM, TO = tonumber(os.getenv "WORK_FROM" or 9), tonumber(os.getenv "WORK_TO" or 17) -- hours

-- true: this target is refused.  What is declared for the case that this function raises: it is let through.
tg.bypass("work-hours", function(_, _, address)
  local hour = os.date("*t").hour
  local host = address:match "^(.*):%d+$" or address
  return hour >= FROM and hour < TO and (FUN[host] or FUN[host:match "%.(.*)$"]) == true
end, { on_error = "open" })

tg.service {
  name = "work-hours",
  addr = os.getenv "LISTEN" or ":8080",
  bypass = "work-hours",
  handler = "http",
}
