-- Requests to the admin plane that come in over a service: authenticated here, answered by the control
-- thread.

local api = require "tidegate.admin.api"
local failure = require "tidegate.failure"
local http = require "tidegate.admin.http"
local message = require "tidegate.process.message"
local task = require "tidegate.native.task"

local M = {}

local ANSWER_MS = 60000
local CONTROL = 0

local function answered(self, request, server, settings)
  local answers = message.call({
    type = "admin", server = server, service = self.service.name, settings = settings,
    raw = request.raw, body = request.body, client = request.client,
  }, task.now() + ANSWER_MS, CONTROL)
  local answer = answers and answers[CONTROL]
  if not answer or not answer.status then
    return { status = answer and 500 or 504 }
  end
  return answer
end

--- Serve a connection.
-- @param server "api" or "metrics"
-- @param settings of that server
function M.serve(self, ctx, stream, server, settings)
  http.serve(stream, {
    refuse = function(request)
      local preflight = request.method == "OPTIONS" and request:header "origin"
      if not preflight and ctx:needs_auth() then
        local user, password = api.credentials(request)
        local ok, err = ctx:authenticate(user or "", password or "")
        if not ok then
          if user then
            ctx.log:warn(tostring(failure.wrap(err)))
          end
          return {
            status = 401,
            headers = { { "WWW-Authenticate", "Basic" }, { "Content-Type", "application/json; charset=utf-8" } },
            body = server == "api" and '{"code":401,"msg":"Unauthorized"}' or "",
          }
        end
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
