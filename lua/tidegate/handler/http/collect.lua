-- Bodies that somebody wants to see before they go on: read piece by piece, up to a limit.

local buffer = require "string.buffer"
local failure = require "tidegate.failure"
local task = require "tidegate.native.task"

local M = {}
local methods = {}
local mt = { __index = methods }

local PIECE = 65536
local LINE_MAX = 4096
local TRAILERS_MAX = 16384

--- A reader of one body.
-- @param framing length, "chunked" or "close"
-- @param stall ms without a byte that end it; 0: none
-- @param keeps whether it keeps all it has taken off the stream, for unread()
function M.reader(stream, framing, stall, keeps)
  return setmetatable({
    stream = stream,
    framing = framing,
    left = type(framing) == "number" and framing or 0, -- of the body, or of the chunk
    stall = stall,
    raw = keeps and buffer.new() or nil,
    over = framing == 0,
  }, mt)
end

local function cut_off(err)
  return nil, failure.new(err.code == "eof" and "eof" or err.code, "the body was cut off",
    { layer = "http", op = "body", cause = err })
end

local function broken()
  return nil, failure.new("protocol", "malformed chunk", { layer = "http", op = "body" })
end

local function note(self, bytes, err)
  if bytes and self.raw then
    self.raw:put(bytes)
  end
  return bytes, err
end

local function line(self, limit)
  return note(self, self.stream:read_until("\r\n", limit))
end

local function skip_trailers(self)
  local left = TRAILERS_MAX
  while true do
    local text, err = line(self, math.max(left, 2))
    if not text then
      return cut_off(err)
    elseif text == "\r\n" then
      self.over = true
      return true
    end
    left = left - #text
  end
end

-- The head of the next chunk.  @return true | nil, err
local function next_chunk(self)
  local text, err = line(self, LINE_MAX)
  if not text then
    return cut_off(err)
  end
  local digits = text:match "^(%x+)[ \t]*\r\n$" or text:match "^(%x+)[ \t]*;[^%z\r\n]*\r\n$"
  self.left = digits and #digits <= 12 and tonumber(digits, 16)
  if not self.left then
    return broken()
  elseif self.left == 0 then
    return skip_trailers(self)
  end
  return true
end

--- The next piece of the body, at most `most` bytes.
-- @return bytes | nil: it is over | nil, err
function methods:read(most)
  local stream = self.stream
  stream:set_deadline(self.stall > 0 and task.now() + self.stall or nil)
  if self.framing == "chunked" and self.left == 0 and not self.over then
    local ok, err = next_chunk(self)
    if not ok then
      return nil, err
    end
  end
  if self.over then
    return nil
  end
  local want = math.min(most or PIECE, PIECE)
  local piece, err = note(self, stream:read(self.framing == "close" and want or math.min(want, self.left)))
  if not piece then
    if self.framing == "close" and err.code == "eof" then
      self.over = true
      return nil
    end
    return cut_off(err)
  end
  if self.framing == "close" then
    return piece
  end
  self.left = self.left - #piece
  if self.framing ~= "chunked" then
    self.over = self.left == 0
  elseif self.left == 0 then
    local tail
    tail, err = note(self, stream:read_exact(2))
    if not tail then
      return cut_off(err)
    elseif tail ~= "\r\n" then
      return broken()
    end
  end
  return piece
end

--- Read up to `limit` bytes.
-- @return bytes, whether the body is over | nil, err
function methods:upto(limit)
  local out = buffer.new()
  while #out < limit do
    local piece, err = self:read(limit - #out)
    if err then
      return nil, err
    elseif not piece then
      return out:tostring(), true
    end
    out:put(piece)
  end
  if not self.over then -- perhaps there is nothing but the end
    if self.framing == "chunked" and self.left == 0 then
      local ok, err = next_chunk(self)
      if not ok then
        return nil, err
      end
    end
  end
  return out:tostring(), self.over
end

--- Put back all that was taken, as it came.  @return true | nil, err
function methods:unread()
  self.stream:set_deadline(nil)
  return self.stream:unread(self.raw:tostring())
end

return M
