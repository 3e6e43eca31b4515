-- The strategy "parallel": all nodes are dialed at once, and the first that answers is taken.

local failure = require "tidegate.failure"
local task = require "tidegate.native.task"

local M = {}

local mt = { __name = "tidegate.race" }

--- What stands in a route until it is known which node wins.
function M.new(nodes)
  return setmetatable({ name = "parallel", addr = "", racers = { unpack(nodes) }, backup = false }, mt)
end

local function run_one(race, node, try)
  if race.winner then
    return
  end
  local cancel = task.cancelable()
  race.running[cancel] = true
  local ok, stream, err = pcall(try, node)
  race.running[cancel] = nil
  cancel:close()
  race.left = race.left - 1
  if not ok then
    stream, err = nil, failure.new("io", tostring(stream))
  end

  if race.winner and stream then
    stream:close() -- too late
  elseif stream then
    race.winner, race.stream = node, stream
    race.waiter:wake(true)
  elseif not race.winner then
    race.errors[#race.errors + 1] = node:blame(failure.wrap(err))
    if race.left == 0 then
      race.waiter:wake(true)
    end
  end
end

-- What all of them found.
local function joined(errors)
  local texts = {}
  for i, err in ipairs(errors) do
    texts[i] = tostring(err)
  end
  return failure.new(errors[1] and errors[1].code or "unreachable", table.concat(texts, "; "), { op = "parallel" })
end

--- Try all nodes at once; the others are given up when one has won.
-- @param try function(node) → stream | nil, err; runs in a task of its own for each
-- @return node, stream | nil, err
function M.run(nodes, try)
  local race = { left = #nodes, running = {}, errors = {}, waiter = task.waiter() }
  for i = 1, #nodes do
    task.spawn(run_one, race, nodes[i], try)
  end
  race.waiter:wait()
  for cancel in pairs(race.running) do
    cancel:cancel()
  end
  if race.winner then
    return race.winner, race.stream
  end
  return nil, joined(race.errors)
end

return M
