-- The answers to requests that services with the handlers `api` and `metrics` pass on: the control thread's
-- side of tidegate.handler.admin.pass_on.
--
--   {type="admin", server, service, settings, raw = head, body, client, trusted}
--                            → { status, headers, body } or, for a stream, { status, headers, stream = id }
--   {type="admin_next", stream = id}  → { text }, or {} when it is over
--   {type="admin_close", stream = id}

local http = require "tidegate.admin.http"
local lazy = require "tidegate.lazy"
local message = require "tidegate.process.message"
local signature = require "tidegate.process.signature"
local task = require "tidegate.native.task"

local M = {}

local TAKEN_MS = 90000 -- what nobody has fetched by then has lost its reader

local SERVERS = { api = lazy "tidegate.admin.api", metrics = lazy "tidegate.admin.metrics" }

local sites = {} -- service → { signature, site }
local streams, last_id = {}, 0 -- id → { text, filled, taken, over }

local function site_of(question, control)
  local id = signature.of(question.settings)
  local known = sites[question.service]
  if not known or known.signature ~= id then
    known = { signature = id, site = SERVERS[question.server].new(question.settings, control) }
    sites[question.service] = known
  end
  return known.site
end

-- Have a response written into a place from which the service's worker fetches, one text at a time.
-- @return its number
local function keep(response)
  last_id = last_id + 1
  local id, one = last_id, { filled = task.waiter(), taken = task.waiter() }
  streams[id] = one
  task.spawn(function()
    response.events(function(text)
      if one.over then
        return nil
      end
      one.text = text
      one.filled:wake(true)
      return one.taken:wait(task.now() + TAKEN_MS) or nil
    end)
    one.over = true
    one.filled:wake(true)
    streams[id] = nil
  end)
  return id
end

local function next_text(id)
  local one = streams[id]
  while one and not one.text and not one.over do
    one.filled:wait()
  end
  local text = one and one.text
  if text then
    one.text = nil
    one.taken:wake(true)
  end
  return { text = text }
end

local function close(id)
  local one = streams[id]
  if one then
    one.over = true
    one.taken:wake(false)
  end
end

-- @param question.trusted whether its service knows who asks; if not, only what is open to all is answered
local function answer(question, control)
  local site = site_of(question, control)
  local request = http.request(question.raw, question.body)
  request.client, request.trusted, request.passed_on = question.client, question.trusted, true
  local response = site.refuse(request) or site.respond(request)
  return {
    status = response.status, headers = response.headers, body = response.body,
    stream = response.events and keep(response),
  }
end

--- Begin to answer.
-- @param control see tidegate.process.face
function M.open(control)
  message.handle("admin", function(question)
    return answer(question, control)
  end)
  message.handle("admin_next", function(question)
    return next_text(question.stream)
  end)
  message.handle("admin_close", function(question)
    close(question.stream)
  end)
end

return M
