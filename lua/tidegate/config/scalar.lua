-- What a plain YAML word means, by the rules of the reader gost uses: YAML 1.2 for booleans, YAML
-- 1.1 for octal numbers.  The writer asks the same question to know what needs quotes.

local scalar = {}

local WORDS = {
  ["true"] = true, ["True"] = true, ["TRUE"] = true,
  ["false"] = false, ["False"] = false, ["FALSE"] = false,
  [".inf"] = math.huge, [".Inf"] = math.huge, [".INF"] = math.huge,
  ["+.inf"] = math.huge, ["+.Inf"] = math.huge, ["+.INF"] = math.huge,
  ["-.inf"] = -math.huge, ["-.Inf"] = -math.huge, ["-.INF"] = -math.huge,
  [".nan"] = 0 / 0, [".NaN"] = 0 / 0, [".NAN"] = 0 / 0,
}
local NULLS = { [""] = true, ["~"] = true, null = true, Null = true, NULL = true }

-- Words of YAML 1.1 that other readers take for booleans; written with quotes.
local OLD_WORDS = {}
for word in ("y Y yes Yes YES on On ON n N no No NO off Off OFF"):gmatch("%S+") do
  OLD_WORDS[word] = true
end

local function digits(text, base, class)
  return text:find("^[" .. class .. "]+$") and tonumber(text, base) or nil
end

-- Go's strconv.ParseInt(text, 0, 64) after the removal of "_".
local function integer(text)
  local sign, body = text:match("^([+-]?)(.*)$")
  local value
  if body:find("^0[xX]") then
    value = digits(body:sub(3), 16, "%x")
  elseif body:find("^0[oO]") then
    value = digits(body:sub(3), 8, "0-7")
  elseif body:find("^0[bB]") then
    value = digits(body:sub(3), 2, "01")
  elseif body:find("^0.") then
    value = digits(body:sub(2), 8, "0-7")
  else
    value = digits(body, 10, "%d")
  end
  return value and (sign == "-" and -value or value)
end

local function float(text)
  local body = text:match("^[+-]?(.*)$")
  local mantissa = body:match("^(.-)[eE][+-]?%d+$") or body
  if mantissa:find("^%.%d+$") or mantissa:find("^%d+%.?%d*$") then
    return tonumber(text:match("^%+?(.*)$"))
  end
end

local function is_timestamp(text)
  local rest = text:match("^%d%d%d%d%-%d%d?%-%d%d?(.*)$")
  if not rest then
    return false
  end
  return rest == "" or rest:find("^[Tt ]%d%d?:%d%d?:%d%d?") ~= nil
end

--- @return "null" | "bool", value | "number", value | "string", the text | "merge"
function scalar.resolve(text)
  if NULLS[text] then
    return "null"
  elseif WORDS[text] ~= nil then
    local value = WORDS[text]
    return type(value) == "boolean" and "bool" or "number", value
  elseif text == "<<" then
    return "merge"
  end
  if text:find("^[%d+.-]") then
    local plain = text:gsub("_", "")
    local value = integer(plain) or float(plain)
    if value then
      return "number", value
    end
  end
  return "string", text
end

--- @return whether a text may stand without quotes and still be read as that text
function scalar.is_plain(text)
  if scalar.resolve(text) ~= "string" or OLD_WORDS[text] or is_timestamp(text) then
    return false
  end
  -- 1:20 is a base 60 number of YAML 1.1
  local base60 = text:match("^[-+]?%d[%d_]*(:[%d:]*)%.?[%d_]*$")
  if not base60 then
    return true
  end
  local rest = base60:gsub(":[0-5]?%d", "")
  return rest ~= ""
end

return scalar
