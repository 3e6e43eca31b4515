-- What the admin plane costs: build/tidegate-spec spec/bench/admin.lua [connections] [seconds]
--
-- 1. With 10,000 open connections: time of the control thread and of all workers (on a CPU, by the kernel's
--    count) for each page of GET /connections, in every order, each GET /stats and each scrape of the metrics.
-- 2. Times from request to answer over a tunnel and from dial to echo, alone; with 100 REPL clients that
--    evaluate, complete and list; and with one besides that means harm.  What they take of the machine's CPU
--    is told from what they do to the process by the same people at another tidegate.  Phases take turns, so
--    that what else the machine does meets all of them.
--
-- Needs descriptors: twice as many as connections (ulimit -n).

package.path = "./?/init.lua;" .. package.path -- run from the top of the repository

local acceptor = require "tidegate.net.acceptor"
local cjson = require "cjson"
local luv = require "luv"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local ECHO, CROWD = "echo", "crowd" -- this script again, as the target, and as those at the REPL
local WANTED, SECONDS = tonumber(arg and arg[1] or 10000), tonumber(arg and arg[2] or 4)
local CLIENTS = 100

local function percentile(list, share)
  table.sort(list)
  return list[math.max(1, math.ceil(#list * share))] or 0
end

local function echo()
  local server = assert(acceptor.listen "127.0.0.1:0")
  assert(server:start(function(peer)
    local bytes = peer:read()
    while bytes do
      peer:write(bytes)
      bytes = peer:read()
    end
    peer:close()
  end))
  return server:address(), server -- who must be kept
end

local function repl_client(repl)
  local s = assert(stream.dial("unix:" .. repl))
  s:set_deadline(task.now() + 3600000)
  return s, function(request)
    s:write(cjson.encode(request) .. "\n")
    return s:read_until("\n", 4194304)
  end
end

local REQUESTS = {
  { op = "eval", text = "tg and tg.worker", worker = "all" }, { op = "eval", text = "1 + 1" },
  { op = "complete", text = "string.f" }, { op = "command", text = ":connections" },
  { op = "command", text = ":services" }, { op = "figures", limit = 20 },
}

local function many(state, repl)
  for i = 1, CLIENTS do
    task.spawn(function()
      local s, ask = repl_client(repl)
      local at = i
      while not state.over and ask(REQUESTS[at % #REQUESTS + 1]) do
        at = at + 1
        state.asked = state.asked + 1
        task.sleep(0.2) -- 500 requests a second of all
      end
      s:close()
    end)
  end
end

local ATTACKS = {
  function(_, ask)
    ask { op = "eval", text = "while true do end", worker = 1 }
  end,
  function(_, ask)
    ask { op = "eval", text = "local t = {} while true do t[#t + 1] = ('x'):rep(1e5) .. #t end", worker = 2 }
  end,
  function(s)
    s:write(("\0garbage\255"):rep(100000))
  end,
  function(s) -- never reads
    for _ = 1, 50 do
      s:write '{"op":"eval","text":"(\'x\'):rep(250000)"}\n'
    end
    task.sleep(0.2)
  end,
}

local function hostile(state, repl)
  task.spawn(function()
    local at = 0
    while not state.over do
      local s, ask = repl_client(repl)
      ATTACKS[at % #ATTACKS + 1](s, ask)
      at = at + 1
      s:close()
    end
  end)
end

if arg and arg[1] == ECHO then
  local address, server = echo()
  io.stdout:write(address, "\n")
  io.stdout:flush()
  task.sleep(3600)
  return server
end

if arg and arg[1] == CROWD then -- who measures is another process: this one is busy
  local state = { asked = 0 }
  for name in arg[3]:gmatch "%a+" do
    ({ many = many, hostile = hostile })[name](state, arg[2])
  end
  while true do
    io.stdout:write(state.asked, "\n")
    io.stdout:flush()
    task.sleep(0.2)
  end
end

-- Seconds on a CPU so far: of the control thread, of the others.
local function on_cpu(pid)
  local control, others = 0, 0
  local scan = luv.fs_scandir(("/proc/%d/task"):format(pid))
  local name = luv.fs_scandir_next(scan)
  while name do
    local f = io.open(("/proc/%d/task/%s/schedstat"):format(pid, name))
    local spent = tonumber(f and f:read "*a":match "^%d+" or 0) / 1e9
    if f then
      f:close()
    end
    if tonumber(name) == pid then
      control = spent
    else
      others = others + spent
    end
    name = luv.fs_scandir_next(scan)
  end
  return control, others
end

local echoing = programs.start(luv.exepath(), { "spec/bench/admin.lua", ECHO })
while not echoing.stdout:find "\n" do
  task.sleep(0.01)
end
local target = echoing.stdout:match "^[^\n]+"
local folder = programs.folder()
local api_port, metrics_port, repl = programs.free_port(), programs.free_port(), folder .. "/repl.sock"
local p = proxy.start({ "-repl", repl, "-C", programs.file(folder, "c.yml", ([[
log: {level: error}
services: [{name: front, addr: "127.0.0.1:0", handler: {type: http}}, {name: beside, addr: "127.0.0.1:0",
  handler: {type: http}}]
api: {addr: "127.0.0.1:%d"}
metrics: {addr: "127.0.0.1:%d"}
]]):format(api_port, metrics_port)) }, { services = 0 })
programs.wait_port(api_port)
local pid = p.process.pid

local function asker(port, fields)
  local s = assert(stream.dial("127.0.0.1:" .. port))
  return function(path)
    s:set_deadline(task.now() + 60000)
    s:write(("GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n"):format(path, fields or ""))
    local head = assert(s:read_until("\r\n\r\n", 65536))
    return s:read_exact(tonumber(head:match "Content%-Length: (%d+)"))
  end
end

local api = asker(api_port)
local front = cjson.decode(api "/stats").data.services
local addresses = { front[1].addr, front[2].addr }

local function tunnel(address)
  local s = assert(stream.dial(address, nil, task.now() + 20000))
  s:set_deadline(task.now() + 3600000)
  s:write(("CONNECT %s HTTP/1.1\r\n\r\n"):format(target))
  assert(s:read_until("\r\n\r\n", 4096))
  return s
end

local function measure(name, count, fn)
  fn(0)
  local control, others = on_cpu(pid)
  local began, slowest = luv.hrtime(), 0
  for i = 1, count do
    local at = luv.hrtime()
    fn(i)
    slowest = math.max(slowest, (luv.hrtime() - at) / 1e6)
  end
  local wall = (luv.hrtime() - began) / 1e6 / count
  local now_control, now_others = on_cpu(pid)
  print(("%-44s %8.2f ms control  %8.2f ms workers  %8.2f ms wall (worst %.1f)"):format(name,
    (now_control - control) * 1e3 / count, (now_others - others) * 1e3 / count, wall, slowest))
end

-- 1 ----------------------------------------------------------------------------------------------

local held = {}
for i = 1, WANTED do
  held[i] = tunnel(addresses[1])
  if i % 50 == 0 then
    task.sleep(0.001)
  end
end
for i = 1, WANTED, 3 do
  held[i]:write(("x"):rep(i % 1000 + 1))
  held[i]:read_exact(i % 1000 + 1)
end
print(("%d connections open, %d KiB resident"):format(cjson.decode(api "/connections?limit=1").data.total, p:rss()))
measure("GET /connections, page by page of 100", WANTED / 100, function(i)
  api("/connections?offset=" .. math.max(i - 1, 0) * 100)
end)
measure("GET /connections, page by page of 1000", WANTED / 1000, function(i)
  api("/connections?limit=1000&offset=" .. math.max(i - 1, 0) * 1000)
end)
measure("GET /connections?host=… (all are looked at)", 10, function()
  api("/connections?host=" .. target)
end)
for _, sort in ipairs { "bytes", "rate", "age" } do
  measure("GET /connections?sort=" .. sort, 10, function()
    api("/connections?sort=" .. sort)
  end)
end
measure("GET /stats", 50, function()
  api "/stats"
end)
local metrics, packed = asker(metrics_port), asker(metrics_port, "Accept-Encoding: gzip\r\n")
local lines = select(2, metrics "/metrics":gsub("\n", ""))
measure(("GET /metrics (%d lines)"):format(lines), 50, function()
  metrics "/metrics"
end)
local seen = 0
for _, clients in ipairs { 1000, 10000 } do -- as if so many addresses had been seen
  while seen < clients do -- what is typed may use little memory at once
    seen = seen + 500
    assert(proxy.run({ "eval", "-socket", repl, ([[(function()
      for i = %d, %d do
        require("tidegate.process.metrics").series():set(
          ("client\0front\00010.0.%%d.%%d"):format(math.floor(i / 250), i %% 250), true)
      end
    end)()]]):format(seen - 499, seen) }).code == 0)
  end
  lines = select(2, metrics "/metrics":gsub("\n", ""))
  measure(("GET /metrics (%d lines)"):format(lines), 20, function()
    metrics "/metrics"
  end)
  measure("the same compressed, as for Prometheus", 20, function()
    packed "/metrics"
  end)
end
for i = 1, WANTED do
  held[i]:close()
end

-- 2 ----------------------------------------------------------------------------------------------

local elsewhere = programs.folder() .. "/repl.sock"
proxy.start { "--workers", "2", "-L", "http://127.0.0.1:0", "-repl", elsewhere }

local function phase(who, where)
  local crowd = who and programs.start(luv.exepath(), { "spec/bench/admin.lua", CROWD, where, who })
  while crowd and not crowd.stdout:find "\n%d%d+\n" do
    task.sleep(0.05)
  end
  local trips, dials = {}, {}
  local kept = tunnel(addresses[2])
  local until_ms = task.now() + SECONDS * 1000
  while task.now() < until_ms do
    local at = luv.hrtime()
    kept:write "ping"
    kept:read_exact(4)
    trips[#trips + 1] = (luv.hrtime() - at) / 1e6
    at = luv.hrtime()
    local s = tunnel(addresses[2])
    s:write "ping"
    s:read_exact(4)
    dials[#dials + 1] = (luv.hrtime() - at) / 1e6
    s:close()
    task.sleep(0.002)
  end
  kept:close()
  local asked = 0
  if crowd then
    asked = tonumber(crowd.stdout:match "(%d+)\n$")
    crowd:stop()
    task.sleep(1)
  end
  return trips, dials, asked
end

local PHASES = {
  { "alone" },
  { CLIENTS .. " REPL clients elsewhere", "many", elsewhere },
  { CLIENTS .. " REPL clients", "many", repl },
  { "and a hostile one elsewhere", "many,hostile", elsewhere },
  { "and a hostile one", "many,hostile", repl },
}
local found = {}
for _ = 1, 3 do
  for i, one in ipairs(PHASES) do
    local trips, dials, asked = phase(one[2], one[3])
    found[i] = found[i] or { trips = {}, dials = {}, asked = 0 }
    for _, trip in ipairs(trips) do
      table.insert(found[i].trips, trip)
    end
    for _, dial in ipairs(dials) do
      table.insert(found[i].dials, dial)
    end
    found[i].asked = found[i].asked + asked
  end
end
for i, one in ipairs(PHASES) do
  local trips, dials = found[i].trips, found[i].dials
  local form = "%-27s echo p50 %.2f p99 %.2f p99.9 %.2f ms  dial p50 %.2f p99 %.2f ms  (%d, %d asked)"
  print(form:format(one[1], percentile(trips, 0.5), percentile(trips, 0.99), percentile(trips, 0.999),
    percentile(dials, 0.5), percentile(dials, 0.99), #trips, found[i].asked))
end
print(("%d KiB resident at the end"):format(p:rss()))
proxy.stop_all()
programs.stop_all()
