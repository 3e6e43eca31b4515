-- What a node (or an entry of a group) asks of a request: the rule of its `matcher`, or the old `filter`.

local addr = require "tidegate.net.addr"
local lazy = require "tidegate.lazy"
local rule = lazy "tidegate.chain.rule"

local M = {}

local BODY_SIZE, BODY_SIZE_MAX = 1024 * 1024, 10 * 1024 * 1024

local function is_set(text)
  return text ~= nil and text ~= ""
end

-- A leading "*" means a suffix; suffixes match whole labels.
local function host_test(pattern)
  local wanted = pattern:lower()
  if wanted:sub(1, 1) == "*" then
    wanted = "." .. wanted:sub(2):gsub("^%.", "")
  end
  local is_suffix = wanted:sub(1, 1) == "."
  return function(host)
    if not is_set(host) then
      return false
    end
    host = addr.host(host):lower()
    return host == wanted or is_suffix and (host == wanted:sub(2) or host:sub(-#wanted) == wanted)
  end
end

local function old_filter(config)
  local host = is_set(config.host) and host_test(config.host)
  local protocol = is_set(config.protocol) and config.protocol
  local path = is_set(config.path) and config.path
  if not (host or protocol or path) then
    return nil
  end
  return function(request)
    return (not host or host(request.host))
      and (not protocol or request.proto == protocol)
      and (not path or (request.path or ""):sub(1, #path) == path)
  end
end

local function body_size(matcher)
  local size = matcher.bodySize or 0
  return math.min(size > 0 and size or BODY_SIZE, BODY_SIZE_MAX)
end

-- Forwarders' nodes had the three fields of the filter themselves.
local function filter_of(config)
  return config.filter or { host = config.host, protocol = config.protocol, path = config.path }
end

--- Read what an object asks.
-- @param config with `matcher` {rule, priority, bodySize}, or `filter` {host, protocol, path}
-- @param registry where rules find the policies they name
-- @return { test = function(request) or nil (always), priority, body_size = bytes of a body it wants to
--   see, or nil } | nil, err
function M.new(config, registry)
  local matcher = config.matcher
  if not matcher or not is_set(matcher.rule) then
    return { test = old_filter(filter_of(config)), priority = matcher and matcher.priority or 0 }
  end
  local test, wants_body = rule.compile(matcher.rule, { registry = registry })
  if not test then
    return nil, wants_body
  end
  local priority = matcher.priority or 0
  return {
    test = test,
    priority = priority ~= 0 and priority or #matcher.rule,
    body_size = wants_body and body_size(matcher) or nil,
  }
end

return M
