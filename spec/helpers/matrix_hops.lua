-- Two hops, chosen from the matrix of components: every transport before every other, and protocols such that all
-- pairs of what has to do with each other are there.

local component = require "tidegate.component"
local matrix = require "spec.helpers.component_matrix"

local M = {}

-- Transports whose first bytes are a request that names the node.
local NAMED = { mws = true, ohttp = true, pht = true, ws = true }

--- Why two hops make no sense: a test, the reason, the rule for users.  The first that applies is the reason.
M.senseless = {
  { function(_, _, to)
    return to.datagrams
  end, "a node is reached through another one by a stream of bytes", "The dialer `udp` begins a chain" },
  { function(_, first, to)
    return first.handler == "sni" and not NAMED[to.dialer]
  end, "it goes where the first bytes say, to a Host or to port 443 of a server name, and theirs name the node",
    "After an `sni` proxy come `ws`, `mws`, `ohttp` and `pht`" },
  { function(_, first, to)
    return to.unix and first.forwards ~= "unix"
  end, "others are asked for TCP",
    "The dialer `unix` comes after a forwarder (the connectors `unix`, `tcp`, `forward`)" },
  { function(_, first, to)
    return first.forwards == "unix" and not to.unix
  end, "it leads to that socket", "After a forwarder to a unix socket comes the dialer `unix`" },
}

local function why_not(from, first, to)
  for _, rule in ipairs(M.senseless) do
    if rule[1](from, first, to) then
      return rule[2]
    end
  end
end

-- Protocols of a hop: of those that speak to many handlers, the one of the same name.
local function protocols(transport, keep)
  local list = {}
  for _, one in ipairs((matrix.over(transport, matrix.protocols()))) do
    if not one.serves and (not one.forwards or one.handler == one.connector) and keep(one) then
      list[#list + 1] = one
    end
  end
  return list
end

local function pairs_of(from, first, to, second)
  return {
    "1" .. from.name .. " 2" .. first.name,
    "1" .. from.name .. " 4" .. second.name,
    "2" .. first.name .. " 3" .. to.name,
    "2" .. first.name .. " 4" .. second.name,
    "3" .. to.name .. " 4" .. second.name,
  }
end

local function count_new(list, seen)
  local count = 0
  for _, pair in ipairs(list) do
    count = count + (seen[pair] and 0 or 1)
  end
  return count
end

-- Of the protocols two transports can have, those which bring most that is new, or were used least.
local function choose(from, to, firsts, seconds, seen, used)
  local best, best_pairs, most, least = nil, nil, -1, 0
  for _, first in ipairs(firsts) do
    if not why_not(from, first, to) then
      for _, second in ipairs(seconds) do
        local list = pairs_of(from, first, to, second)
        local count, uses = count_new(list, seen), (used[first.name] or 0) + (used[second.name] or 0)
        if count > most or count == most and uses < least then
          best, best_pairs = { from = from, first = first, to = to, second = second }, list
          most, least = count, uses
        end
      end
    end
  end
  for _, pair in ipairs(best_pairs or {}) do
    seen[pair] = true
  end
  for _, one in ipairs(best and { best.first, best.second } or {}) do
    used[one.name] = (used[one.name] or 0) + 1
  end
  return best, most
end

--- @return a list of { from, first, to, second }: transport and protocol of each hop; texts of what has none
function M.all()
  local list, without, seen, used = {}, {}, {}, {}
  local firsts, seconds, transports = {}, {}, {}
  for _, transport in ipairs(matrix.transports()) do
    if not transport.datagrams then
      transports[#transports + 1] = transport
      firsts[transport] = protocols(transport, function(one)
        return one.bytes
      end)
      seconds[transport] = protocols(transport, function()
        return true
      end)
    end
  end
  for round = 1, 2 do -- the second brings the pairs that are still missing
    for _, from in ipairs(transports) do
      for _, to in ipairs(transports) do
        local known = round == 1 and seen or setmetatable({}, { __index = seen })
        local one, new = choose(from, to, firsts[from], seconds[to], known, used)
        if one and (round == 1 or new > 0) then
          list[#list + 1] = one
          for pair in pairs(known) do
            seen[pair] = true
          end
        elseif not one and round == 1 then
          without[#without + 1] = from.name .. " " .. to.name
        end
      end
    end
  end
  return list, without
end

--- @return whether the end of one direction passes: a session over the first hop has streams of its own
function M.half_close(one)
  return one.to.half_close and (one.from.half_close or component.find("dialer", one.to.dialer).multiplex or false)
end

return M
