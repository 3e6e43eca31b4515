-- Requests to the admin plane that come in over a service: authenticated here, answered by the control
-- thread (tidegate.admin.passed_on).

local api = require "tidegate.admin.api"
local failure = require "tidegate.failure"
local http = require "tidegate.admin.http"
local message = require "tidegate.process.message"
local task = require "tidegate.native.task"

local M = {}

local ANSWER_MS = 60000
local CONTROL = 0

local function ask(question)
  local answers = message.call(question, task.now() + ANSWER_MS, CONTROL)
  return answers and answers[CONTROL]
end

-- Let the client have a stream as it is written.
local function carry_on(id, write)
  local piece = ask { type = "admin_next", stream = id }
  while piece and piece.text do
    if not write(piece.text) then
      return message.send(CONTROL, { type = "admin_close", stream = id })
    end
    piece = ask { type = "admin_next", stream = id }
  end
end

local function answered(self, request, server, settings)
  local answer = ask {
    type = "admin", server = server, service = self.service.name, settings = settings,
    raw = request.raw, body = request.body, client = request.client, trusted = request.trusted,
  }
  if not answer or not answer.status then
    return { status = answer and 500 or 504 }
  end
  local id = answer.stream
  if id then
    answer.events = function(write)
      carry_on(id, write)
    end
    answer.close = function()
      message.send(CONTROL, { type = "admin_close", stream = id })
    end
  end
  return answer
end

-- @return whether it is known who asks, or all may
local function knows(ctx, request)
  if not ctx:needs_auth() then
    return true
  end
  local user, password = api.credentials(request)
  local ok, err = ctx:authenticate(user or "", password or "")
  if not ok and user then
    ctx.log:warn(tostring(failure.wrap(err)))
  end
  return ok ~= nil and ok ~= false
end

--- Serve a connection.
-- @param server "api" or "metrics"
-- @param settings of that server
function M.serve(self, ctx, stream, server, settings)
  settings.guarded = ctx:needs_auth()
  http.serve(stream, {
    refuse = function(request)
      local preflight = request.method == "OPTIONS" and request:header "origin"
      request.trusted = not preflight and knows(ctx, request)
      if not request.trusted then -- the control thread says what everybody may see; bodies are not read
        return answered(self, request, server, settings)
      end
    end,
    respond = function(request)
      return answered(self, request, server, settings)
    end,
  }, {
    client = ctx.client,
    on_error = function(text)
      ctx.log:error("raised: " .. text)
    end,
  })
  return true
end

return M
