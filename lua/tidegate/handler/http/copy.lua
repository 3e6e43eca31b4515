-- Copies of bodies, taken by tidegate.native.body as the bytes go by: chunk lines included.

local M = {}

local CHUNK_ROOM = 4096 -- of chunk lines, besides as much again as the body's bytes

--- @return how much must be kept on the wire to have `bytes` of a body
function M.room(bytes, framing)
  return bytes > 0 and framing == "chunked" and bytes * 2 + CHUNK_ROOM or bytes
end

--- The body in a copy, which may be cut anywhere.
function M.body(bytes, framing)
  if framing ~= "chunked" then
    return bytes
  end
  local parts, at = {}, 1
  while true do
    local digits, begin = bytes:match("^(%x+)[^\n]*\n()", at)
    local size = digits and tonumber(digits, 16)
    if not size or size == 0 then
      return table.concat(parts)
    end
    parts[#parts + 1] = bytes:sub(begin, begin + size - 1)
    at = begin + size + 2
  end
end

return M
