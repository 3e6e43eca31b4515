-- How exactly a limit of 10 Mbit/s holds: build/tidegate-spec spec/bench/limits.lua [SECONDS]
--
-- For 1 and 2 workers, 1, 10 and 100 connections, in each direction: the rate after the first burst, by
-- how much it is off, the fastest and the slowest connection as shares of their mean, and how many of the
-- bytes went through splice().


package.path = "./?.lua;./?/init.lua;" .. package.path

local listener = require "tidegate.native.listener"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local RATE = 1250000 -- bytes per second
local SECONDS = tonumber(arg and arg[1]) or 8

local SCRIPT = [[
local relay = require "tidegate.native.relay"
local tg = require "tidegate"
tg.spawn(function()
  while true do
    tg.sleep(0.25)
    local spliced, copied = relay.stats()
    print(("SPLICED %d %d"):format(spliced, copied))
    io.stdout:flush()
  end
end)
]]

local function drain(s, counts, i)
  local bytes = s:read(1048576)
  while bytes do
    counts[i] = counts[i] + #bytes
    bytes = s:read(1048576)
  end
  s:close()
end

local function fill(s)
  local block = ("x"):rep(65536)
  while s:write(block) do end
  s:close()
end

local function sum(counts)
  local total = 0
  for _, n in ipairs(counts) do
    total = total + n
  end
  return total
end

-- What the workers printed last.
local function splice_share(p)
  local spliced, copied = 0, 0
  for a, b in p:log():gmatch "SPLICED (%d+) (%d+)" do
    if tonumber(a) + tonumber(b) > 0 then
      spliced, copied = math.max(spliced, tonumber(a)), math.max(copied, tonumber(b))
    end
  end
  return spliced / math.max(spliced + copied, 1)
end

local function measure(workers, count, way)
  local sinks, got = {}, 0
  local fds = assert(listener.open("127.0.0.1:0", "stream", 1))
  local acceptor = assert(listener.accept(fds[1], function(s)
    if way == "out" then
      return fill(s)
    end
    got = got + 1
    sinks[got] = 0
    drain(s, sinks, got)
  end))
  local folder = programs.folder()
  local p = proxy.start({ "--workers", tostring(workers), "-C", programs.file(folder, "bench.yml", ([[
services:
- name: s
  addr: 127.0.0.1:0
  limiter: l
  handler: { type: tcp }
  forwarder: { nodes: [ { name: n, addr: "%s" } ] }
limiters:
- name: l
  limits: [ "$ %dB %dB" ]
log: { level: info }
scripts: [ "%s" ]
]]):format(listener.address(fds[1]), RATE, RATE, programs.file(folder, "stats.lua", SCRIPT))) }, { services = 1 })
  local clients, counts = {}, way == "out" and {} or sinks
  for i = 1, count do
    clients[i] = assert(stream.dial("127.0.0.1:" .. p:port(1)))
    if way == "out" then
      counts[i] = 0
      task.spawn(drain, clients[i], counts, i)
    else
      task.spawn(fill, clients[i])
    end
  end

  task.sleep(3) -- the burst, and what fits into buffers
  local before, began = { unpack(counts) }, task.now()
  task.sleep(SECONDS)
  local passed = (task.now() - began) / 1000
  local total, least, most = 0, math.huge, 0
  for i, n in ipairs(counts) do
    local mine = n - (before[i] or 0)
    total, least, most = total + mine, math.min(least, mine), math.max(most, mine)
  end
  local rate, mean = total / passed, total / math.max(#counts, 1)
  print(("%d worker%s %3d connections %-3s  %9.0f B/s  %+5.2f %%"):format(
    workers, workers == 1 and ", " or "s,", count, way, rate, (rate / RATE - 1) * 100)
    .. ("   %4.2f … %4.2f of the mean   %3.0f %% spliced"):format(least / mean, most / mean, splice_share(p) * 100))
  for _, client in ipairs(clients) do
    client:interrupt()
    client:close()
  end
  p:stop()
  acceptor:close()
  listener.close_fd(fds[1])
  return sum(counts)
end

for _, workers in ipairs { 1, 2 } do
  for _, count in ipairs { 1, 10, 100 } do
    for _, way in ipairs { "in", "out" } do
      measure(workers, count, way)
    end
  end
end
programs.stop_all()
