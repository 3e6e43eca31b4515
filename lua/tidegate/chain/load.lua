-- How many connections run over a node, exactly, in all workers together.
--
-- A connection counts from the moment it has chosen the node.  Until its stream stands, a claim of the
-- connection holds the count; then the stream does, and keeps it when a relay takes it over.

local M = {}

local claim_mt = {}
claim_mt.__index = claim_mt

--- Give the count back; once.
function claim_mt:close()
  if self.counter then
    self.counter:add(-1)
    self.counter = nil
  end
end

--- Count a connection that has chosen a node; a node without a counter is left alone.
function M.claim(ctx, node)
  local counter = node.load
  if counter and ctx then
    counter:add(1)
    local claim = setmetatable({ counter = counter, node = node }, claim_mt)
    ctx[#ctx + 1] = claim -- whatever happens, it ends with the connection
    local claims = rawget(ctx, "claims")
    if not claims then
      claims = {}
      ctx.claims = claims
    end
    claims[#claims + 1] = claim
  end
end

--- The stream (or packet endpoint) to a node stands: from here on it is what counts.
function M.settle(ctx, node, stream)
  if not node.load or not stream.hold then
    return
  end
  stream:hold(node.load)
  local claims = rawget(ctx, "claims")
  for i = 1, claims and #claims or 0 do
    if claims[i].node == node then
      claims[i]:close()
      table.remove(claims, i)
      return
    end
  end
end

--- An attempt has failed: whatever it had claimed and not settled is free.
function M.drop(ctx)
  local claims = rawget(ctx, "claims")
  for i = 1, claims and #claims or 0 do
    claims[i]:close()
    claims[i] = nil
  end
end

return M
