-- Nodes whose protocol has no answer of its own, as those of Shadowsocks: what they do not understand they leave
-- unanswered, and so does a target that has nothing to say.  Their operator is told when it looks like the former.

local task = require "tidegate.native.task"

local M = {}

local AGAIN = 60000 -- ms after which the same is told once more
local IN_A_ROW = 3 -- connections, of a node that has answered before

local known = setmetatable({}, { __mode = "v" }) -- id of a node → what is known of it; the node holds that

--- A connection goes through a node whose first bytes will be the target's.
-- @param causes what may be wrong when there are none
function M.expect(ctx, node, causes)
  if not node then
    return
  end
  local state = node.silence
  if not state then
    state = { label = ("%s %s %s"):format(node.label, node.kind, node.addr), causes = causes, row = 0 }
    node.silence = state
  end
  known[node.id] = state
  ctx.unanswered = node.id
end

--- Such a connection is over, or so far that it is known whether the node answers.
-- @param id what expect() left in ctx.unanswered; others are not meant
-- @param sent, received bytes to and from the node
function M.ended(ctx, id, sent, received)
  local state = known[id]
  if not state then
    return
  elseif received > 0 then
    state.row, state.answered = 0, true
    return
  end
  state.row = state.row + (sent > 0 and 1 or 0)
  local now = task.now()
  if state.row < (state.answered and IN_A_ROW or 1) or state.told and now - state.told < AGAIN then
    return
  end
  state.told = now
  ctx.log:warn(("%s: nothing came back from it: %s; or from the target"):format(state.label, state.causes))
end

return M
