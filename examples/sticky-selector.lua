-- Port forwarding with sticky sessions: a client returns to the target it had before, for ten minutes after
-- its last visit and as long as that target works, whichever worker it meets.
-- Run it with:  tidegate -C examples/sticky-selector.lua
local tg = require "tidegate"

local STAY = 600 -- seconds
local homes = tg.dict "sticky homes" -- client → name of a target; one for all workers

tg.selector("sticky", function(items, ctx)
  local client = ctx.user or ctx.client_ip
  local home = homes:get(client)
  local chosen = items[math.random(#items)]
  for _, item in ipairs(items) do -- what has failed lately is not among them
    if item.name == home then
      chosen = item
    end
  end
  homes:set(client, chosen.name, STAY)
  return chosen
end)

tg.service {
  name = "sticky",
  addr = os.getenv "LISTEN" or ":8080",
  handler = "tcp",
  forwarder = {
    selector = { strategy = "sticky", failTimeout = 30 },
    nodes = {
      { name = "one", addr = "127.0.0.1:9001" },
      { name = "two", addr = "127.0.0.1:9002" },
      { name = "three", addr = "127.0.0.1:9003" },
    },
  },
}
