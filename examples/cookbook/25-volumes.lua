local tg = require "tidegate"

local USERS = { ann = "secret", bob = "builder" }
local VOLUME = 100000000 -- bytes for each user and day
local DAY = 86400

local used = tg.dict "used" -- one for all workers; it outlives reloads

local function today(user)
  return os.date "%F " .. user
end

tg.auther("people", function(user, password)
  return USERS[user] == password and (used:get(today(user)) or 0) < VOLUME
end)

tg.on("record", function(next, ctx, result) -- a connection is over
  if ctx.user then
    used:incr(today(ctx.user), result.up + result.down, 0, DAY)
  end
  return next(ctx, result)
end)

tg.service { name = "proxy", addr = "127.0.0.1:8080", handler = "auto", auther = "people" }

tg.service { -- a page that says how much it was
  name = "usage",
  addr = "127.0.0.1:8081",
  handler = function(ctx, stream)
    stream:set_deadline(ctx:after(5))
    local _, err = stream:read_until("\r\n\r\n", 16384)
    if err then
      return nil, err
    end
    local lines = {}
    for user in pairs(USERS) do
      lines[#lines + 1] = ("%s %d\n"):format(user, used:get(today(user)) or 0)
    end
    table.sort(lines)
    return stream:write("HTTP/1.0 200 OK\r\n\r\n", table.concat(lines))
  end,
}
