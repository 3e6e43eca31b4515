-- RESP2, the protocol of Redis: commands as bytes, replies as values.
--
-- A reply is a string, a number, a list, nil for null (false inside a list), or a failure for an error
-- of the server.  Whatever else arrives is a broken connection.

local buffer = require "string.buffer"
local failure = require "tidegate.failure"

local M = {}

local LINE_MAX = 64 * 1024
local DEPTH_MAX = 8
local PIECE = 256 * 1024
local WORDS = { NOAUTH = "auth", WRONGPASS = "auth", NOPERM = "denied" }

--- Append a command.
-- @param out string.buffer
-- @param command a list of strings and numbers
-- @return true | nil, err
function M.encode(out, command)
  if #command == 0 then
    return nil, failure.new("invalid", "an empty command", { layer = "redis" })
  end
  out:put("*", #command, "\r\n")
  for i = 1, #command do
    local item = command[i]
    if type(item) == "number" then
      item = item == math.floor(item) and ("%.0f"):format(item) or ("%.17g"):format(item)
    elseif type(item) ~= "string" then
      return nil, failure.new("invalid", ("argument %d is a %s"):format(i, type(item)), { layer = "redis" })
    end
    out:put("$", #item, "\r\n", item, "\r\n")
  end
  return true
end

local function malformed()
  return nil, failure.new("protocol", "malformed reply", { layer = "redis" })
end

local function too_long()
  return nil, failure.new("limit", "the reply is too long", { layer = "redis" })
end

-- An error of the server is a value; the connection goes on.
local function server_error(text)
  local word = text:match("^[A-Z]+") or ""
  return failure.new(WORDS[word] or "invalid", text, { layer = "redis", word = word })
end

local function integer(text)
  return text:find("^[+-]?%d+$") and #text <= 20 and tonumber(text) or nil
end

local readers = {}

-- One value.  `left` counts down the bytes and values that may still come.
-- @return true, value | nil, err
local function read(stream, left, depth)
  local line, err = stream:read_until("\r\n", LINE_MAX)
  if not line then
    return nil, err
  end
  left.bytes, left.values = left.bytes - #line, left.values - 1
  if left.bytes < 0 or left.values < 0 then
    return too_long()
  end
  local reader = readers[line:sub(1, 1)]
  if not reader then
    return malformed()
  end
  return reader(line:sub(2, -3), stream, left, depth)
end

readers["+"] = function(text)
  return true, text
end

readers["-"] = function(text)
  return true, server_error(text)
end

readers[":"] = function(text)
  local value = integer(text)
  if not value then
    return malformed()
  end
  return true, value
end

local function read_bytes(stream, size)
  if size <= PIECE then
    return stream:read_exact(size)
  end
  local out = buffer.new()
  while #out < size do
    local piece, err = stream:read(math.min(size - #out, PIECE))
    if not piece then
      return nil, err
    end
    out:put(piece)
  end
  return out:tostring()
end

readers["$"] = function(text, stream, left)
  local size = integer(text)
  if not size or size < -1 then
    return malformed()
  elseif size == -1 then
    return true, nil
  end
  left.bytes = left.bytes - size - 2
  if left.bytes < 0 then
    return too_long()
  end
  local bytes, err = read_bytes(stream, size + 2)
  if not bytes then
    return nil, err
  elseif bytes:sub(-2) ~= "\r\n" then
    return malformed()
  end
  return true, bytes:sub(1, -3)
end

readers["*"] = function(text, stream, left, depth)
  local count = integer(text)
  if not count or count < -1 or depth >= DEPTH_MAX then
    return malformed()
  elseif count == -1 then
    return true, nil
  elseif count > left.values then
    return too_long()
  end
  local list = {}
  for i = 1, count do
    local ok, value = read(stream, left, depth + 1)
    if not ok then
      return nil, value
    end
    if value == nil then
      value = false
    end
    list[i] = value
  end
  return true, list
end

--- Receive one reply.
-- @param limits { bytes, values } of one reply
-- @return true, reply | nil, err: the connection is of no use any more
function M.decode(stream, limits)
  return read(stream, { bytes = limits.bytes, values = limits.values }, 0)
end

return M
