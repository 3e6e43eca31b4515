-- Rules that change bodies: by pattern, at a place of a JSON document, or by a rewriter.

local failure = require "tidegate.failure"
local json = require "tidegate.chain.rewrite.json"
local regex = require "tidegate.native.regex"
local rewriter = require "tidegate.policy.rewriter"

local M = {}

local CHUNK_SIZE = 1024 * 1024 -- of bodies of unknown length, unless a rule says more
local JSON = "application/json"

local function is_set(text)
  return text ~= nil and text ~= ""
end

local function compile_regex(text)
  local re, err = regex.new(text)
  if not re then
    return nil, failure.new("config", ("body rewrite %q: %s"):format(text, tostring(err)))
  end
  return re
end

-- "json:a.b=regex"
local function compile_json(rule, match)
  local path, pattern = match:match "^([^=]*)=?(.*)$"
  local steps, problem = json.compile(path)
  if not steps then
    return nil, failure.new("config", ("body rewrite json:%s: %s"):format(path, problem))
  end
  local err
  rule.json = steps
  rule.re, err = compile_regex(pattern ~= "" and pattern or ".*")
  return rule.re ~= nil, err
end

local function compile_one(item, registry)
  local match = item.match or ""
  local rule = {
    type = is_set(item.type) and item.type:lower() or nil,
    replacement = item.replacement or "",
    max = item.maxChunkSize and item.maxChunkSize > 0 and item.maxChunkSize or CHUNK_SIZE,
    rewriter = is_set(item.rewriter) and rewriter.of(item.rewriter, registry) or nil,
  }
  local ok, err = true, nil
  if match:find "^json:" then
    ok, err = compile_json(rule, match:sub(6))
  elseif match ~= "" then
    rule.re, err = compile_regex(match)
    ok = rule.re ~= nil
  elseif not rule.rewriter then
    return nil, failure.new("config", "a body rewrite needs match or rewriter")
  end
  return ok and rule, err
end

--- Compile the rules of a list.  @return list, nil for an empty one | nil, err
function M.compile(list, registry)
  local out = {}
  for i, item in ipairs(list) do
    local rule, err = compile_one(item, registry)
    if not rule then
      return nil, err
    end
    out[i] = rule
  end
  return #out > 0 and out or nil
end

-- Is a rule for messages of this media type?  A text that holds the type is a list of types.
local function concerns(rule, media)
  if media == "" then
    return true
  elseif rule.json then
    return media == JSON and (not rule.type or rule.type == "*" or rule.type:find(media, 1, true) ~= nil)
  end
  local types = rule.type or rule.rewriter and "*" or "text/html"
  return types == "*" or types:find(media, 1, true) ~= nil
end

--- The rules for a media type ("text/html", no parameters, in lower case).  @return list | nil: there are none
function M.applicable(rules, media)
  local out = {}
  for _, rule in ipairs(rules or {}) do
    if concerns(rule, media) then
      out[#out + 1] = rule
    end
  end
  return #out > 0 and out or nil
end

--- The longest body of unknown length that these rules want.
function M.chunk_size(rules)
  local most = 0
  for _, rule in ipairs(rules) do
    most = math.max(most, rule.max)
  end
  return most
end

-- @return data | nil, err
local function apply_one(rule, data, meta)
  if rule.json then
    local _, _, text = json.find(rule.json, data)
    if not rule.re:test(text or "") then
      return data
    elseif rule.rewriter then
      return rewriter.apply(rule.rewriter, data, meta)
    end
    return json.set(rule.json, data, json.quote(rule.replacement)) or data
  elseif rule.rewriter then
    if rule.re and not rule.re:test(data) then
      return data
    end
    return rewriter.apply(rule.rewriter, data, meta)
  end
  local changed, err = rule.re:replace(data, rule.replacement)
  if not changed then
    return nil, failure.new("limit", "a pattern took too long on a body: " .. tostring(err))
  end
  return changed
end

--- Apply rules in their order.
-- @param meta what rewriters are told
-- @return data | nil, err
function M.apply(rules, data, meta)
  for _, rule in ipairs(rules) do
    local err
    data, err = apply_one(rule, data, meta)
    if not data then
      return nil, err
    end
  end
  return data
end

return M
