-- The client's end of the plain HTTP tunnel: what is written goes out in POSTs, what comes is pulled.

local base64 = require "tidegate.net.http.base64"
local failure = require "tidegate.failure"
local half = require "tidegate.net.pht.half"
local head = require "tidegate.net.http.head"
local http1 = require "tidegate.native.http1"
local lines = require "tidegate.net.pht.lines"
local message = require "tidegate.net.http.message"
local native = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local M = {}

local CHUNK = 32768
local ANSWER = 60000 -- ms for the answer to a POST
local SILENT = 60000 -- ms without a line
local LINGER = 5000 -- ms for the last words of a server that knows no half-close, once we have finished
local LOOK = 100 -- ms

local function wrong(message_text, status)
  return nil, failure.new("protocol", message_text:format(status), { layer = "pht" })
end

local function request_of(self, method, target, length, finished)
  local fields = { { "Host", self.host }, { "User-Agent", self.agent } }
  for _, field in ipairs(self.fields) do
    fields[#fields + 1] = field
  end
  fields[#fields + 1] = length and { "Content-Length", tostring(length) } or nil
  fields[#fields + 1] = finished and { half.FIELD, "yes" } or nil
  return http1.encode(("%s %s HTTP/1.1"):format(method, target), fields)
end

-- One exchange on the connection at hand, or a fresh one.  @return the head of the response | nil, err
local function exchange(self, place, request, body, limit)
  local err
  for _ = 1, 2 do
    local used = place.stream ~= nil
    if not used then
      place.stream, err = self.connect()
      if not place.stream then
        return nil, err
      end
    end
    place.stream:set_deadline(task.now() + limit)
    local ok, response
    ok, err = place.stream:write(request, body or "")
    if ok then
      response, err = head.response(place.stream)
    end
    if response then
      return response
    end
    place.stream:close()
    place.stream = nil
    if not used or err.code == "timeout" then
      break
    end
  end
  return nil, err
end

local function finish(place, response)
  if place.stream and not response.persistent then
    place.stream:close()
    place.stream = nil
  end
end

-- @return token, whether the server knows half-close | nil, err
local function authorize(self, place)
  local response, err = exchange(self, place, request_of(self, "GET", self.authorize), nil, ANSWER)
  if not response then
    return nil, err
  elseif response.status ~= 200 then
    return wrong("the server answers %d where a token is asked for; paths or host may differ", response.status)
  end
  local text
  text, err = message.body(place.stream, head.response_framing(response, "GET"), 4096)
  finish(place, response)
  local token = text and text:match "^token=([%w_%-]+)%s*$"
  if not token then
    return nil, err or failure.new("protocol", "the server gives no token; it is no pht server", { layer = "pht" })
  end
  return token, head.get(response, half.FIELD:lower()) ~= nil
end

-- @param bytes nil: the end, of the tunnel or, `finished`, of what we say
local function post(self, place, token, bytes, finished)
  local text = bytes and base64.encode(bytes) .. "\n" or ""
  local response, err = exchange(self, place,
    request_of(self, "POST", self.push .. "?token=" .. token, #text, finished), text, ANSWER)
  if not response then
    return nil, err
  elseif response.status ~= 200 then
    return wrong("the server answers %d to what is pushed", response.status)
  end
  local ok
  ok, err = message.body(place.stream, head.response_framing(response, "POST"), 65536)
  finish(place, response)
  return ok and true, err
end

-- The user has finished: wait for the end of what the server says, unless the user is gone.
local function await_end(self, place, token, stream, state)
  local limit = not state.half_close and task.now() + LINGER
  if state.half_close and not native.is_left(stream) and not post(self, place, token, nil, true) then
    return
  end
  while not (state.over or native.is_left(stream) or limit and task.now() >= limit) do
    state.ended:wait(task.now() + LOOK)
  end
end

-- What the user writes.
local function go_up(self, place, token, stream, state)
  while not state.over do
    local bytes = stream:read(CHUNK)
    if not bytes then
      break
    end
    local ok, err = post(self, place, token, bytes)
    if not ok then
      state.err = err
      stream:close()
      break
    end
  end
  if not state.over then
    await_end(self, place, token, stream, state)
  end
  if not post(self, place, token) and state.pull.stream then
    state.pull.stream:close() -- the server does not know, and would never end
  end
  if place.stream then
    place.stream:close()
  end
  stream:close()
end

-- The lines of one response.  @return whether to ask again
local function take_lines(place, response, stream)
  local more, body = lines.reader(place.stream, head.response_framing(response, "GET"))
  while true do
    place.stream:set_deadline(task.now() + SILENT)
    local bytes = more()
    local count, _, foreign = body:state()
    if not bytes then
      -- A server that sends this field keeps a response open as long as the tunnel is.
      return bytes == false and count > 0 and not foreign and not head.get(response, "x-accel-buffering")
    elseif bytes ~= "" and not stream:write(bytes) or foreign then
      return false
    end
  end
end

-- What the server sends.
local function come_down(self, token, stream, state)
  local place, again = state.pull, true
  while again do
    local response = exchange(self, place, request_of(self, "GET", self.pull .. "?token=" .. token), nil, SILENT)
    again = response ~= nil and response.status == 200 and take_lines(place, response, stream)
    if response and place.stream then
      finish(place, response)
    end
  end
  if place.stream then
    place.stream:close()
  end
  state.over = true
  stream:shutdown()
  stream:interrupt() -- what would still be written leads nowhere
  state.ended:wake(true)
end

--- Open a tunnel.
-- @param self { host =, agent =, fields = of the requests, authorize =, push =, pull = paths,
--   connect = function() → stream | nil, err }
-- @return stream | nil, err
function M.open(self)
  local place = {}
  local token, more = authorize(self, place)
  if not token then
    if place.stream then
      place.stream:close()
    end
    return nil, more:during "pht"
  end
  local inner, outer = native.pair()
  local state = { ended = task.waiter(), half_close = more, pull = {} }
  task.spawn(go_up, self, place, token, outer, state)
  task.spawn(come_down, self, token, outer, state)
  return inner
end

return M
