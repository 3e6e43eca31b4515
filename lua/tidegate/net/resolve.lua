-- Names to addresses, through the system's resolver (getaddrinfo in libuv's thread pool).
--
-- Nothing is cached: the system says no time to live.  Questions for one name that arrive while an
-- answer is on its way share it.

local luv = require "luv"
local addr = require "tidegate.net.addr"
local failure = require "tidegate.failure"
local task = require "tidegate.native.task"

local M = {}

local REASONS = {
  EAI_NONAME = "no such host",
  EAI_NODATA = "no such host",
  EAI_ADDRFAMILY = "no address for the name",
  EAI_AGAIN = "the name server does not answer",
  EAI_FAIL = "the name server failed",
  EAI_SERVICE = "no such service",
}

-- host → list of waiters
local inflight = {}

-- Alternate families, beginning with the one the system prefers (RFC 8305 section 4).
local function interleave(ips)
  local first, second, lead = {}, {}, nil
  for i = 1, #ips do
    local family = addr.family(ips[i])
    lead = lead or family
    local list = family == lead and first or second
    list[#list + 1] = ips[i]
  end
  if #second == 0 then
    return first
  end

  local out = {}
  for i = 1, math.max(#first, #second) do
    out[#out + 1] = first[i]
    out[#out + 1] = second[i]
  end
  return out
end

local function collect(records)
  local ips, seen = {}, {}
  for i = 1, #records do
    local ip = records[i].addr
    if ip and not seen[ip] then
      seen[ip] = true
      ips[#ips + 1] = ip
    end
  end
  return interleave(ips)
end

local function answer(host, reason, records)
  local waiters = inflight[host]
  inflight[host] = nil

  local ips = not reason and collect(records) or nil
  local err
  if not ips or #ips == 0 then
    ips = nil
    err = failure.new("resolve", REASONS[reason or "EAI_NONAME"] or reason, { op = "resolve", addr = host })
  end
  for i = 1, #waiters do
    waiters[i]:wake(ips, err)
  end
end

-- Start asking.  @return true | nil, err
local function ask(host)
  local ok, why = luv.getaddrinfo(host, nil, { socktype = "stream" }, function(reason, records)
    answer(host, reason, records)
  end)
  if not ok then
    return nil, failure.new("resolve", tostring(why), { op = "resolve", addr = host })
  end
  return true
end

--- Look a name up.  An IP literal is its own answer.
-- @param deadline ms on the loop's clock, or nil
-- @return list of IP literals, to be tried in this order | nil, err
function M.lookup(host, deadline)
  if addr.is_ip(host) then
    return { host }
  end

  local waiter = task.waiter()
  if not task.is_task() then
    waiter:wait() -- raises, before anything has begun
  end
  local waiters = inflight[host]
  if not waiters then
    local ok, err = ask(host)
    if not ok then
      return nil, err
    end
    waiters = {}
    inflight[host] = waiters
  end

  waiters[#waiters + 1] = waiter
  local ips, err = waiter:wait(deadline)
  if not ips then
    if err and err.code == "timeout" then
      return nil, failure.new("timeout", "no answer in time", { op = "resolve", addr = host })
    end
    return nil, err
  end
  return ips
end

return M
