-- Bodies of the plain HTTP tunnel: lines of base64, in whatever framing they come.

local failure = require "tidegate.failure"

local M = {}

local LINE_MAX = 65536
local CHUNK_MAX = 1024 * 1024
local READ = 32768

local function broken(message)
  return nil, failure.new("protocol", message, { layer = "pht" })
end

-- One chunk of a chunked body, or "" at its end.
local function read_chunk(stream)
  local line, err = stream:read_until("\r\n", 256)
  if not line then
    return nil, err
  end
  local size = tonumber(line:match "^(%x+)" or "", 16)
  if not size or size > CHUNK_MAX then
    return broken "a broken chunk"
  elseif size == 0 then
    repeat
      line, err = stream:read_until("\r\n", 4096)
    until not line or line == "\r\n"
    return line and "", err
  end
  local bytes
  bytes, err = stream:read_exact(size + 2)
  return bytes and bytes:sub(1, size), err
end

--- @param framing of a message: length, "chunked" or "close"
-- @return a function → the next line without its end, false at the end | nil, err
function M.reader(stream, framing)
  local held, left, over = "", framing, false
  local function more()
    local bytes, err
    if framing == "chunked" then
      bytes, err = read_chunk(stream)
    elseif framing == "close" then
      bytes, err = stream:read(READ)
      if not bytes and err.code == "eof" then
        bytes = ""
      end
    else
      bytes, err = left > 0 and stream:read(math.min(left, READ)) or "", nil
      left = left - #(bytes or "")
    end
    return bytes, err
  end
  local parts, size = {}, 0 -- of a line whose end has not come
  local function complete(last)
    parts[#parts + 1] = last
    local line = table.concat(parts)
    parts, size = {}, 0
    return line
  end
  return function()
    while true do
      local stop = held:find("\n", 1, true)
      if stop then
        local last = held:sub(1, stop - 1)
        held = held:sub(stop + 1)
        return complete(last)
      end
      parts[#parts + 1], size, held = held, size + #held, ""
      if over then
        local line = complete ""
        return line ~= "" and line or false
      elseif size > LINE_MAX then
        return broken "a line is too long"
      end
      local bytes, err = more()
      if not bytes then
        return nil, err
      end
      held, over = bytes, bytes == ""
    end
  end
end

return M
