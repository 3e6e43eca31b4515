-- Amounts of bytes as gost writes them: "10MB", "1.5GiB", "1MB512KB".  All units are powers of 1024.

local M = {}

local MAX = 2 ^ 53

local POWERS = { B = 0, K = 1, M = 2, G = 3, T = 4, P = 5, E = 6 }

-- @return factor, spelling ("" for B, which belongs to both)
local function factor_of(unit)
  local power = POWERS[unit:sub(1, 1)]
  if unit == "B" then
    return 1, ""
  elseif power and power > 0 and (unit:sub(2) == "B" or unit:sub(2) == "iB") then
    return 1024 ^ power, unit:sub(2)
  end
end

--- @return a whole number of bytes, at most 2^53 | nil when the text is no amount
function M.bytes(text)
  local sign, rest = text:match "^([+-]?)(.*)$"
  if rest == "0" then
    return 0
  end
  local total, spelling, at = 0, nil, 1
  repeat
    local number, unit, next_at = rest:match("^(%d*%.?%d*)(%a+)()", at)
    local value = number and number ~= "." and tonumber(number)
    local factor, spelled = nil, nil
    if value then
      factor, spelled = factor_of(unit)
    end
    if not factor or (spelled ~= "" and spelling and spelling ~= spelled) then
      return nil
    end
    spelling = spelled ~= "" and spelled or spelling
    total = total + value * factor
    at = next_at
  until at > #rest
  total = math.min(math.floor(total), MAX)
  return sign == "-" and -total or total
end

--- The same for limits: what is no amount, or not positive, is no limit.
-- @param value text, or a number of bytes
-- @return bytes, 0 for no limit; whether the value made sense
function M.limit(value)
  if value == nil or value == "" then
    return 0, true
  end
  local bytes = type(value) == "number" and math.min(math.floor(value), MAX) or nil
  if not bytes and type(value) == "string" then
    bytes = M.bytes(value)
  end
  if not bytes or bytes ~= bytes then
    return 0, false
  end
  return math.max(bytes, 0), true
end

return M
