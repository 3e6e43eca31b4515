-- Questions and answers of DNS that pass by, for the record: one object for each question.

local native = require "tidegate.native.dns"
local record = require "tidegate.process.record"
local task = require "tidegate.native.task"
local text = require "tidegate.net.dns.text"

local M = {}
local methods = {}
local mt = { __index = methods }

local PENDING_MAX = 64 -- questions without an answer

--- Begin to look at a connection, whose own record this replaces.
-- @param upstream the stream or endpoint to the server
function M.new(ctx, upstream)
  ctx.recorded = false
  ctx.upstream, ctx.upstream_local = upstream:remote_address(), upstream:local_address()
  return setmetatable({ ctx = ctx, pending = {}, order = {} }, mt)
end

--- The first question of a message.  @return { id, name, class, type }, the message | nil
function M.question(bytes)
  local message = native.parse(bytes)
  local asked = message and not message.response and message.questions[1]
  if not asked then
    return nil
  end
  return { id = message.id, name = asked.name, class = asked.class, type = asked.type }, message
end

local function write(self, entry, down, err)
  record.write(self.ctx, {
    up = entry.up, down = down, duration = (task.now() - entry.began) / 1000, err = err,
  }, { proto = "dns", dns = entry.dns })
end

local function take(self, id)
  local entry = self.pending[id]
  self.pending[id] = nil
  for i, one in ipairs(self.order) do
    if one == id then
      table.remove(self.order, i)
      break
    end
  end
  return entry
end

--- A message passes.  @param up it is the client's
function methods:see(bytes, up)
  if not up then
    return self:answer(bytes)
  end
  local dns, message = M.question(bytes)
  local known = dns and self.pending[dns.id]
  if known then -- asked again
    known.up = known.up + #bytes
  elseif dns then
    if #self.order >= PENDING_MAX then
      write(self, take(self, self.order[1]), 0, "no answer")
    end
    dns.question, dns.answer = text.of(message), ""
    self.pending[dns.id] = { dns = dns, up = #bytes, began = task.now() }
    self.order[#self.order + 1] = dns.id
  end
end

function methods:answer(bytes)
  local message = native.parse(bytes)
  local entry = message and message.response and take(self, message.id)
  if entry then
    entry.dns.answer = text.of(message)
    write(self, entry, #bytes)
  end
end

--- The connection is over.
function methods:finish()
  while self.order[1] do
    write(self, take(self, self.order[1]), 0, "no answer")
  end
end

return M
