-- /connections and /nodes: what goes on.  Not gost's.

local answer = require "tidegate.admin.api.answer"
local cjson = require "cjson"
local ranking = require "tidegate.process.ranking"

local M = {}

local LIMIT, LIMIT_MAX = 100, 1000

local function number(text, default, most)
  if text == nil or text == "" then
    return default
  end
  local found = text:match "^%d+$" and tonumber(text)
  return found and math.min(found, most)
end

local function filter_of(query)
  local filter = {}
  for _, key in ipairs { "service", "client", "user", "host" } do
    filter[key] = query[key] ~= "" and query[key] or nil
  end
  return filter
end

local function list(control, request)
  local query = request.query
  local offset, limit = number(query.offset, 0, 2 ^ 31), number(query.limit, LIMIT, LIMIT_MAX)
  if not offset or not limit then
    return answer.error(40001, "offset and limit must be numbers")
  end
  local sort = query.sort ~= "" and query.sort or nil
  if sort and not ranking.ORDERS[sort] then
    return answer.error(40001, ("sort: there is no %q; bytes, input, output, rate and age are"):format(sort))
  elseif sort and offset + limit > LIMIT_MAX then
    return answer.error(40001, ("only the first %d connections of an order are known"):format(LIMIT_MAX))
  end
  local found = control.connections(filter_of(query), offset, limit, sort)
  return answer.data(('{"total":%d,"offset":%d,"count":%d,"list":%s}'):format(
    found.total, offset, #found.items, answer.array(found.items)))
end

local function close(control, arguments)
  local sid = arguments.sid
  if sid:find "[^%w]" or not control.disconnect(sid) then
    return answer.error(40401, ("connection %s not found"):format(sid))
  end
  return answer.done()
end

local function figures(control)
  local all = control.figures()
  local services = answer.array(all.services)
  all.services = nil
  return answer.data(('{"services":%s,%s'):format(services, cjson.encode(all):sub(2)))
end

local function nodes(control)
  local all = control.nodes()
  return answer.data(('{"count":%d,"list":%s}'):format(#all, answer.array(all)))
end

--- Add the routes.
-- @param control see tidegate.process.face
function M.add(routes, control)
  routes:add("GET", "/connections", function(request)
    return list(control, request)
  end, {
    tag = "live", doc = "connections that are open now, page by page; ages are seconds",
    query = {
      service = "only of this service", user = "only of this user", client = "part of the client's address",
      host = "part of the target", offset = "how many are left out, default 0",
      limit = "most in one answer, default 100, at most 1000",
      sort = "bytes, input, output, rate or age: those with most of it first, with inputRate and outputRate",
    },
    data = { total = 1, offset = 0, count = 1, list = { {
      sid = "d4f8o1k6j3g0abcdefgh", service = "service-0", client = "192.0.2.1:40000", user = "ann",
      host = "example.com:443", route = "node-0@192.0.2.9:1080 > example.com:443", inputBytes = 517,
      outputBytes = 4096, age = 1.5, state = "relay", worker = 1,
    } } },
  })
  routes:add("DELETE", "/connections/{sid}", function(_, arguments)
    return close(control, arguments)
  end, { tag = "live", doc = "close a connection" })
  routes:add("GET", "/stats", function()
    return figures(control)
  end, {
    tag = "live", doc = "what services have carried and hold now, exactly, and what the process uses",
    data = {
      time = 1764038000.25,
      total = { totalConns = 7, currentConns = 1, inputBytes = 517, outputBytes = 4096, totalErrs = 0 },
      services = { {
        name = "service-0", addr = "127.0.0.1:8080", handler = "http", listener = "tcp", state = "ready",
        totalConns = 7, currentConns = 1, inputBytes = 517, outputBytes = 4096, totalErrs = 0,
      } },
      process = {
        pid = 4711, version = "0.1.0", uptime = 60.5, cpu = 1.25, memory = 14680064, lua = 2097152, workers = 2,
        sessions = 0,
      },
    },
  })
  routes:add("GET", "/nodes", function()
    return nodes(control)
  end, {
    tag = "live", doc = "the nodes of hops and forwarders: marks, probes, latencies (seconds)",
    data = { count = 1, list = { {
      hop = "hop-0", name = "node-0", addr = "192.0.2.9:1080", connector = "socks5", dialer = "tcp", failed = false,
      fails = 0, healthy = true, probeLatency = 0.021,
    } } },
  })
end

return M
