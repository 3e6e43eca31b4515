-- A proxy that slows down whoever guesses passwords, and turns away whoever goes on.  All workers know.
-- Run it with:  tidegate -C examples/abuse-limiter.lua
local tg = require "tidegate"

local SLOW, OUT = 3, 6 -- wrong passwords
local FORGET = 600 -- seconds
local strikes = tg.dict "abuse" -- address → wrong passwords

tg.on("authenticate", function(next, ctx, user, password)
  local id, err = next(ctx, user, password)
  if not id and user and user ~= "" then
    strikes:incr(ctx.client_ip, 1, 0, FORGET)
  end
  return id, err
end)

local function count(ip)
  return strikes:get(ip) or 0
end

-- Asked when a connection comes, and again every limiter.refreshInterval while it lives.
tg.limiter("abuse", function(subject, scope)
  if scope == "conn" and count(subject.client_ip) >= SLOW then
    return "16KB", "16KB"
  end
  return 0, 0 -- no limit
end)

tg.rlimiter("abuse", function(ctx)
  return count(ctx.client_ip) < OUT
end)

tg.auther("users", { alice = "wonderland" })

tg.service {
  name = "guarded",
  addr = os.getenv "LISTEN" or ":8080",
  handler = { type = "http", auther = "users" },
  limiter = "abuse",
  rlimiter = "abuse",
  metadata = { ["limiter.refreshInterval"] = "5s" },
}
