-- The first command of a Redis client, for the record.

local M = {}

local LONGEST = 512 -- bytes of a key that are kept

-- "*2\r\n$3\r\nGET\r\n$5\r\nmykey\r\n" or "GET mykey\r\n".  @return command, key
function M.parse(bytes)
  local count, at = bytes:match "^%*(%d+)\r\n()"
  if not count then
    local command, key = bytes:match "^[*+%-:$]?(%a+)%s+(%S*)"
    return command, key
  end
  local words = {}
  for i = 1, math.min(tonumber(count), 2) do
    local digits, begin = bytes:match("^%$(%d+)\r\n()", at)
    if not digits or #digits > 9 then
      break
    end
    local length = tonumber(digits)
    words[i] = bytes:sub(begin, begin + math.min(length, LONGEST) - 1)
    at = begin + length + 2
  end
  return words[1], words[2]
end

--- Note what is there of the first command; does not wait for more than its first byte.
function M.look(ctx, stream)
  local bytes = stream:peek(1)
  local command, key = M.parse(bytes or "")
  ctx.recorded = { proto = "redis", redis = { command = command or "", key = key or "" } }
end

return M
