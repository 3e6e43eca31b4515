-- At most PER_MINUTE connections a minute from one address, counted over all workers.  Named by
-- examples/forward.yml.
local tg = require "tidegate"

local PER_MINUTE = 30
local seen = tg.dict "calm"

tg.on("admit", function(next, ctx)
  if seen:incr(ctx.client_ip, 1, 0, 60) > PER_MINUTE then
    return nil, tg.failure("limit", ctx.client_ip .. " comes too often")
  end
  return next(ctx)
end)
