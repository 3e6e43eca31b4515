-- Changing the bodies of requests and responses, as a target's settings say (tidegate.chain.rewrite).

local coding = require "tidegate.native.coding"
local collect = require "tidegate.handler.http.collect"
local failure = require "tidegate.failure"
local head = require "tidegate.net.http.head"
local rules_of = require "tidegate.chain.rewrite.body"

local M = {}

local LONGEST = 16 * 1024 * 1024 -- of bodies that are changed, packed or not; longer ones pass unchanged
local EVENTS = "text/event-stream"

--- @return the media type of a message, without parameters, in lower case
function M.media(message)
  local value = head.get(message, "content-type") or ""
  return value:match("^%s*([^;,%s]*)"):lower()
end

-- The coding of a body: nil for none, false for one that cannot be taken off.
local function coding_of(message)
  local name = head.get(message, "content-encoding")
  name = name and name:lower():match "^%s*(.-)%s*$"
  if not name or name == "" or name == "identity" then
    return nil
  end
  return coding.known(name) and name or false
end

local function unpacked(name, bytes)
  if not name then
    return bytes
  end
  local plain, whole = coding.unpack(name, bytes, LONGEST)
  return plain and whole and plain or nil
end

--- What rewriters are told.
function M.meta(ctx, request, direction)
  return { sid = ctx.sid, direction = direction, uri = request.send_target or request.target }
end

-- Read a body whole and change it.
-- @return new bytes | nil: it passes unchanged | nil, err
local function change(engine, ctx, stream, message, framing, rules, meta)
  local name = coding_of(message)
  local limit = type(framing) == "number" and LONGEST or rules_of.chunk_size(rules)
  if name == false or type(framing) == "number" and framing > LONGEST then
    return nil
  end
  local reader = collect.reader(stream, framing, engine.stall, true)
  local bytes, whole = reader:upto(limit)
  if not bytes then
    return nil, whole
  end
  local plain = whole and unpacked(name, bytes)
  if not plain then
    ctx.log:debug(("a body of %s is too long or broken, it passes unchanged"):format(meta.uri))
    return nil, select(2, reader:unread())
  end
  stream:set_deadline(nil)
  message.whole_before = bytes
  local changed, err = rules_of.apply(rules, plain, meta)
  if not changed then
    return nil, err:during "body rewriting"
  elseif changed == plain then
    return bytes
  elseif name then
    return coding.pack(name, changed)
  end
  return changed
end

--- Let a client that waits for it send its body.  @return true | nil, err
function M.continue(stream, request)
  local expects = head.get(request, "expect")
  if not expects or request.minor == 0 or request.continued then
    return true
  end
  request.continued = true
  return stream:write "HTTP/1.1 100 Continue\r\n\r\n"
end

--- Change the body of a request: sets request.whole_body when it was read.
-- @return true | nil, err
function M.request(engine, ctx, stream, request, settings)
  local framing = head.request_framing(request)
  local rules = framing ~= 0 and rules_of.applicable(settings.request_bodies, M.media(request))
  if not rules then
    return true
  end
  local ok, err = M.continue(stream, request)
  if not ok then
    return nil, err
  end
  local changed
  changed, err = change(engine, ctx, stream, request, framing, rules, M.meta(ctx, request, "request"))
  if err then
    return nil, err
  end
  request.whole_body = changed
  return true
end

--- The rules for a response, if its body is one that can be changed.
-- @return rules, whether it is a stream of events | nil
function M.rules_for(request, response, framing)
  local settings = request.settings
  if not settings or not settings.response_bodies or framing == 0 or response.status == 206 then
    return nil
  end
  local media = M.media(response)
  local rules = rules_of.applicable(settings.response_bodies, media)
  return rules, rules ~= nil and media == EVENTS and coding_of(response) == nil
end

--- Change the body of a response.
-- @return bytes | nil: it passes unchanged | nil, err
function M.response(engine, ctx, upstream, request, response, framing, rules)
  return change(engine, ctx, upstream, response, framing, rules, M.meta(ctx, request, "response"))
end

-- Events -------------------------------------------------------------------------------------------

local SEPARATORS = { "\n\n", "\r\n\r\n", "\r\r" }

-- The events that are whole in a text, one after the other.
-- @return function() → event | nil: there are no more, how much of the text they took
local function events_in(text, from)
  local at, seen, found = 1, from, {}
  return function()
    local best, length = math.huge, 0
    for i, separator in ipairs(SEPARATORS) do
      local first = found[i]
      if not first or first < seen then -- each is looked for once in the whole text
        first = text:find(separator, seen, true) or math.huge
        found[i] = first
      end
      if first < best then
        best, length = first, #separator
      end
    end
    if best == math.huge then
      return nil, at - 1
    end
    local event = text:sub(at, best - 1)
    at = best + length
    seen = at
    return event
  end
end

--- Change a stream of events, each by itself.
-- @param write function(bytes) → true | nil, err
-- @return true | nil, err
function M.events(ctx, upstream, request, framing, rules, write)
  local reader = collect.reader(upstream, framing, 0)
  local meta, index, text = M.meta(ctx, request, "response"), 0, ""
  local function put(event, phase)
    meta.sse_phase = phase or index == 0 and "start" or "event"
    meta.event_index = index
    local changed, err = rules_of.apply(rules, event, meta)
    if not changed then
      return nil, err:during "event rewriting"
    end
    index = index + 1
    if changed == "" then
      return true
    end
    return write(changed .. "\n\n")
  end

  local seen = 1
  while true do
    local piece, broken = reader:read()
    if not piece then
      meta.stream_error = broken and tostring(broken) or nil
      local ok, err = true, nil
      if text ~= "" and not broken then
        ok, err = put(text)
      end
      if ok then
        ok, err = put("", "end")
      end
      if broken or not ok then
        return nil, broken or err
      end
      return true
    end
    text = text .. piece
    local next_event = events_in(text, seen)
    local event, taken = next_event()
    while event do
      local ok, err = put(event)
      if not ok then
        return nil, err
      end
      event, taken = next_event()
    end
    text = text:sub(taken + 1)
    seen = math.max(#text - 3, 1)
    if #text > LONGEST then
      return nil, failure.new("limit", "an event is too long", { layer = "http", op = "event rewriting" })
    end
  end
end

--- The first bytes of a request's body, unpacked, for rules that look at it; they stay in the stream.
-- @return bytes | nil, err
function M.peek(engine, stream, request, size)
  local framing = head.request_framing(request)
  if framing == 0 then
    return ""
  end
  local ok, err = M.continue(stream, request)
  if not ok then
    return nil, err
  end
  local reader = collect.reader(stream, framing, engine.stall, true)
  local bytes
  bytes, err = reader:upto(size)
  if not bytes then
    return nil, err
  end
  ok, err = reader:unread()
  if not ok then
    return nil, err
  end
  local name = coding_of(request)
  if name then
    return coding.unpack(name, bytes, size) or ""
  end
  return name == nil and bytes or ""
end

return M
