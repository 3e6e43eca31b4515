-- The log's lines about requests of HTTP, of which a connection may bring many, to many hosts: `REMOTE <-> HOST` and
-- `REMOTE >-< HOST`, as a tunnel has them.

local head = require "tidegate.net.http.head"
local task = require "tidegate.native.task"

local M = {}

local INFO = 3

-- Name and value by turns; what is nil is left out.
local function put(fields, ...)
  for i = 1, select("#", ...), 2 do
    local name, value = select(i, ...)
    if value ~= nil then
      fields[#fields + 1], fields[#fields + 2] = name, value
    end
  end
  return fields
end

--- A request goes on.  What may become a tunnel gets its first line from that.
-- @return what finish() wants, or nil: nobody reads such lines
function M.begin(ctx, request)
  local service = ctx.service
  if not (service and service.log and service.log.level <= INFO and ctx.stream) then
    return nil
  end
  local host = request.address or ctx.target or ""
  if not head.has_token(request.connection, "upgrade") then
    ctx.log:info(ctx.remote .. " <-> " .. host, put({ "network", "tcp", "host", host }, "clientID", ctx.user))
  end
  return { host = host, began = task.now(), rx = ctx.http_rx or 0, tx = ctx.http_tx or 0 }
end

--- The request is over.
function M.finish(line, ctx, err)
  local rx, tx = ctx.stream:counts()
  ctx.http_rx, ctx.http_tx = rx, tx
  local fields = put({ "network", "tcp", "host", line.host },
    "clientID", ctx.user, "route", ctx.route, "node", ctx.node,
    "duration", (task.now() - line.began) / 1000, "inputBytes", rx - line.rx, "outputBytes", tx - line.tx,
    "err", err and tostring(err) or nil)
  ctx.log:info(ctx.remote .. " >-< " .. line.host, fields)
end

return M
