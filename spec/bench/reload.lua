-- What clients notice while a large bypass is read anew: build/tidegate-spec spec/bench/reload.lua
--
-- 1,000 connections a second through a SOCKS5 service; every few seconds its list of 1,000,000 domains
-- and 200,000 networks changes.  Prints times from dial to echo, in quiet seconds and in busy ones.

package.path = "./?/init.lua;" .. package.path -- run from the top of the repository

local acceptor = require "tidegate.net.acceptor"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"
local uv = require "luv"

local RATE, SECONDS, EVERY = tonumber(os.getenv "BENCH_RATE" or 1000), tonumber(os.getenv "BENCH_SECONDS" or 24), 4

local function write_list(path, seed)
  math.randomseed(seed)
  local file = assert(io.open(path .. ".new", "w"))
  for i = 1, 1000000 do
    file:write(("n%d-%d.%x.example\n"):format(seed, i, math.random(0, 2 ^ 30)))
  end
  for i = 1, 200000 do
    file:write(("%d.%d.%d.0/24\n"):format(128 + i % 90, math.floor(i / 90) % 256, math.random(0, 255)))
  end
  file:close()
  assert(os.rename(path .. ".new", path))
end

local function echo()
  local server = assert(acceptor.listen "127.0.0.1:0")
  assert(server:start(function(peer)
    local bytes = peer:read()
    if bytes then
      peer:write(bytes)
    end
    peer:close()
  end))
  return server:address(), server -- who must be kept
end

local function percentile(list, share)
  table.sort(list)
  return list[math.max(1, math.ceil(#list * share))] or 0
end

local folder = programs.folder()
-- Two lists lie ready, so that writing them costs nothing while is measured.
write_list(folder .. "/one", 1)
write_list(folder .. "/two", 2)
programs.output("cp", { folder .. "/one", folder .. "/list" })
local target, server = echo()
local port = tonumber(target:match ":(%d+)$")
local p = proxy.start({ "-C", programs.file(folder, "c.yml", ([[
services:
- {name: s, addr: "127.0.0.1:0", bypass: b, logger: quiet, handler: {type: socks5}, listener: {type: tcp}}
bypasses:
- {name: b, ruleset: [{file: %s/list, format: plain}]}
loggers:
- {name: quiet, log: {level: error, output: stderr}}
]]):format(folder)) }, { services = 1 })

local request = "\5\1\0\1\127\0\0\1" .. string.char(math.floor(port / 256), port % 256)
local quiet, busy, errors, loading = {}, {}, 0, false

local function one()
  local began, list = uv.hrtime(), loading and busy or quiet
  local s = stream.dial("127.0.0.1:" .. p:port(1), nil, task.now() + 5000)
  local ok = s and s:write("\5\1\0") and s:read_exact(2) and s:write(request) and s:read_exact(10)
    and s:write "x" and s:read_exact(1)
  if s then
    s:close()
  end
  if not ok then
    errors = errors + 1
  end
  list[#list + 1] = (uv.hrtime() - began) / 1e6
end

local reloads = 0
local start = uv.hrtime()
task.spawn(function()
  while (uv.hrtime() - start) / 1e9 < SECONDS - EVERY do
    task.sleep(EVERY / 2)
    programs.output("cp", { folder .. (reloads % 2 == 0 and "/two" or "/one"), folder .. "/next" })
    task.sleep(0.2)
    loading = true
    os.rename(folder .. "/next", folder .. "/list")
    reloads = reloads + 1
    task.sleep(EVERY / 2)
    loading = false
  end
end)
local sent = 0
while (uv.hrtime() - start) / 1e9 < SECONDS do
  while sent < (uv.hrtime() - start) / 1e9 * RATE do
    sent = sent + 1
    task.spawn(one)
  end
  task.sleep(0.001)
end
task.sleep(1)
print(("%d connections, %d errors, %d reloads, RSS %.0f MiB"):format(sent, errors, reloads, p:rss() / 1024))
for _, row in ipairs { { "quiet", quiet }, { "loading", busy } } do
  print(("%-8s %6d  median %.2f ms  p99 %.2f ms  max %.2f ms"):format(row[1], #row[2], percentile(row[2], 0.5),
    percentile(row[2], 0.99), percentile(row[2], 1)))
end
p:stop()
server:close()
