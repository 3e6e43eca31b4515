-- No connection at all: for the connector of the same name, which dials the target itself.

local component = require "tidegate.component"
local failure = require "tidegate.failure"

local function no_bytes()
  return nil, failure.new("unsupported", "the direct dialer needs the direct connector")
end

-- Looks like a stream to those who only pass it on.
local nothing = {
  close = function() end,
  is_closed = function()
    return true
  end,
  set_deadline = function() end,
}
for _, name in ipairs {
  "read", "read_exact", "read_until", "receive", "peek", "unread", "write", "shutdown",
} do
  nothing[name] = no_bytes
end

return component.dialer "direct" {
  doc = "connects nowhere; pair it with the direct connector",
  aliases = { "virtual" },
  metadata = {},
  resolves = false,
  proxy_header = false,

  dial = function()
    return nothing
  end,
}
