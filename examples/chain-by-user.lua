-- An HTTP proxy with users, where each user leaves through a chain of their own.
-- Run it with:  tidegate -C examples/chain-by-user.lua
local tg = require "tidegate"

local USERS = {
  alice = { password = "wonderland", through = "direct" },
  bob = { password = "builder", through = { "http://127.0.0.1:9080" } }, -- URLs as -F takes them
}
local NEVER = { ["169.254.169.254"] = true } -- nobody may ask the cloud's metadata server

tg.auther("people", function(user, password)
  return USERS[user] ~= nil and USERS[user].password == password
end)

tg.chain("by-user", function(ctx)
  return USERS[ctx.user].through
end)

tg.on("request", function(next, ctx, network, address)
  if NEVER[address:match "^(.*):%d+$"] then
    return nil, tg.failure("blocked", address .. " is out of bounds")
  end
  return next(ctx, network, address)
end)

tg.on("record", function(next, ctx, result)
  if ctx.user then
    tg.counter("bytes of " .. ctx.user):add(result.up + result.down)
  end
  return next(ctx, result)
end)

tg.service {
  name = "by-user",
  addr = os.getenv "LISTEN" or ":8080",
  handler = "http",
  auther = "people",
  chain = "by-user",
}
