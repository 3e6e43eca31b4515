-- What a bypass of 1,000,000 domains and 200,000 CIDRs costs: build/tidegate-spec spec/bench/match.lua
--
-- Prints the time to load it, the memory it takes, the longest turn of the loop meanwhile, and the time
-- of a lookup as a worker pays it, through Lua.

local match = require "tidegate.native.match"
local task = require "tidegate.native.task"
local uv = require "luv"

local DOMAINS, NETS, LOOKUPS = 1000000, 200000, 200000

local function rss()
  local file = assert(io.open "/proc/self/status")
  local text = file:read "*a"
  file:close()
  return tonumber(text:match "VmRSS:%s*(%d+)") / 1024
end

local function random_name()
  local letters = {}
  for i = 1, math.random(6, 16) do
    letters[i] = string.char(96 + math.random(26))
  end
  return table.concat(letters)
end

local function write_list(path)
  local file = assert(io.open(path, "w"))
  local sample = {}
  for i = 1, DOMAINS do
    local name = ("%s.%s.%s"):format(random_name(), random_name():sub(1, 6), i % 3 == 0 and "com" or "co.uk")
    file:write(name, "\n")
    if i % (DOMAINS / 1000) == 0 then
      sample[#sample + 1] = name
    end
  end
  for i = 1, NETS do
    file:write(("%d.%d.%d.0/%d\n"):format(math.random(1, 223), math.random(0, 255), i % 256, math.random(20, 24)))
  end
  file:close()
  return sample
end

local function addresses(sample)
  local list = {}
  for i = 1, 4000 do
    local kind = i % 4
    list[i] = kind == 0 and "www." .. sample[i % #sample + 1] .. ":443"
      or kind == 1 and ("%s.%s.org:443"):format(random_name(), random_name())
      or kind == 2 and ("%d.%d.%d.%d:80"):format(math.random(1, 223), math.random(255), math.random(255), i % 256)
      or "a.b." .. random_name() .. ".example.net:80"
  end
  return list
end

-- The longest time the loop stood still while `fn` waited.
local function watched(fn)
  local longest, running = 0, true
  task.spawn(function()
    while running do
      local before = uv.hrtime()
      task.sleep(0.001)
      longest = math.max(longest, (uv.hrtime() - before) / 1e6)
    end
  end)
  local a, b = fn()
  running = false
  return longest, a, b
end

local function lookup_times(list, asked)
  local contains = list.contains
  local times, hits = {}, 0
  for round = 1, LOOKUPS / 100 do
    local before = uv.hrtime()
    for i = 1, 100 do
      if contains(list, asked[(round * 100 + i * 37) % #asked + 1]) then
        hits = hits + 1
      end
    end
    times[round] = (uv.hrtime() - before) / 100
  end
  table.sort(times)
  return times[math.floor(#times / 2)], times[math.floor(#times * 0.99)], hits
end

math.randomseed(7)
local path = os.tmpname()
local sample = write_list(path)
collectgarbage()
local before = rss()
local began = uv.hrtime()
local longest, id, info = watched(function()
  return match.build { sources = { { path = path, format = "plain" } } }
end)
assert(id, tostring(info))
local took = (uv.hrtime() - began) / 1e6
os.remove(path)
local list = assert(match.open(id))
local median, p99, hits = lookup_times(list, addresses(sample))
print(("loaded %d patterns (%d names, %d networks, %d notes) in %.0f ms; longest turn meanwhile %.1f ms"):format(
  info.count, info.names, info.nets, info.note_count, took, longest))
print(("memory: %.1f MiB in the list, RSS grew by %.1f MiB"):format(info.bytes / 2 ^ 20, rss() - before))
print(("lookup: median %.0f ns, 99th percentile %.0f ns (of batches of 100); %d of %d were in the list"):format(
  median, p99, hits, LOOKUPS))
