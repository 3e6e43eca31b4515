-- Draining services, evaluating Lua, watching events.  Not gost's.

local answer = require "tidegate.admin.api.answer"
local cjson = require "cjson"
local evaluate = require "tidegate.admin.repl.evaluate"
local events = require "tidegate.admin.events"
local http = require "tidegate.admin.http"
local profile = require "tidegate.process.profile"
local task = require "tidegate.native.task"

local M = {}

local EVAL_MS = 30000
local BEAT_MS = 15000 -- of silence before a comment is sent, by which a watcher that has left is noticed
local PROFILE_SECONDS, PROFILE_SECONDS_MAX = 10, 50 -- a service waits for a minute
local KINDS = { open = true, close = true, state = true, log = true }

local function drain(control, arguments, on)
  local name = arguments.service
  local ok, problems = control.drain(name, on)
  if ok == false then
    return answer.error(40004, ("service %s not found"):format(name))
  elseif not ok then
    return answer.error(40003, tostring(problems[1]))
  end
  return answer.done()
end

-- Evaluating -------------------------------------------------------------------------------------

local function run(control, where, text)
  if where == "control" then
    return { evaluate.run(text) }
  end
  return control.ask(where, { type = "eval", text = text }, EVAL_MS)
end

local function eval(control, settings, request, is_open)
  if not settings.eval then
    return answer.error(40301, "evaluating Lua is off; api.eval: true permits it")
  elseif is_open then
    return answer.error(40301, "evaluating Lua needs authentication: api.auth or api.auther")
  elseif request.foreign then -- a browser would add the password it knows to a form of any page
    return answer.error(40301, "pages of other origins may not evaluate Lua")
  end
  local where = request.query.worker or "control"
  local answers, err = run(control, where, request.body)
  if not answers then
    return answer.error(40001, err)
  end
  local list = {}
  for i, one in ipairs(answers) do
    list[i] = { ok = one.ok == true, text = one.text or "the text is not complete" }
  end
  return answer.data(cjson.encode(list))
end

-- Events -----------------------------------------------------------------------------------------

local function send(write, list, lost)
  local texts = {}
  if lost > 0 then
    texts[1] = ('event: lost\ndata: {"count":%d}\n\n'):format(lost)
  end
  for _, event in ipairs(list) do
    texts[#texts + 1] = ("event: %s\ndata: %s\n\n"):format(event.kind, cjson.encode(event.data))
  end
  return write(#texts > 0 and table.concat(texts) or ": \n\n")
end

local function watch(request)
  local kinds = {}
  for kind in (request.query.kinds or "open,close,state"):gmatch "[^,]+" do
    if not KINDS[kind] then
      return answer.error(40001, ("kinds: there is no %q; open, close, state and log are"):format(kind))
    end
    kinds[kind] = true
  end
  local watcher = events.watch(kinds)
  if not watcher then
    return answer.error(40301, "too many are watching")
  end
  return {
    status = 200,
    headers = { { "Content-Type", "text/event-stream" }, { "Cache-Control", "no-store" } },
    close = function()
      watcher:close()
    end,
    events = function(write)
      local ok = write ": welcome\n\n"
      while ok do
        ok = send(write, watcher:next(task.now() + BEAT_MS))
      end
      watcher:close()
    end,
  }
end

local function take_profile(control, request)
  local seconds = tonumber(request.query.seconds or PROFILE_SECONDS)
  if not seconds or seconds <= 0 or seconds > PROFILE_SECONDS_MAX then
    return answer.error(40001, ("seconds must be more than 0 and at most %d"):format(PROFILE_SECONDS_MAX))
  end
  local list, err = control.profile(request.query.worker or "all", seconds, request.query.stacks)
  if not list then
    return answer.error(40001, err)
  end
  return http.text(200, profile.fold(list), "text/plain; charset=utf-8")
end

--- Add the routes.
-- @param control see tidegate.process.face
-- @param settings { eval, open = anybody may ask }
function M.add(routes, control, settings)
  routes:add("POST", "/services/{service}/drain", function(_, arguments)
    return drain(control, arguments, true)
  end, { tag = "operate", doc = "accept no more connections; those that are open go on" })
  routes:add("POST", "/services/{service}/undrain", function(_, arguments)
    return drain(control, arguments, false)
  end, { tag = "operate", doc = "accept again" })
  routes:add("POST", "/eval", function(request)
    return eval(control, settings, request, settings.open)
  end, {
    tag = "operate", doc = "evaluate Lua, the body; off unless api.eval is true",
    query = { worker = "control (default), all, or the number of a worker" },
    data = { { ok = true, text = "2" } },
  })
  routes:add("GET", "/profile", function(request)
    return take_profile(control, request)
  end, {
    tag = "operate", doc = "where the time goes, as folded stacks for flame graphs",
    query = {
      stacks = "lua (default): functions of Lua; c: functions of C",
      seconds = "how long, default 10, at most 50", worker = "all (default), control, or the number of a worker",
    },
  })
  routes:add("GET", "/events", function(request)
    return watch(request)
  end, {
    tag = "operate", doc = "what happens, as server-sent events",
    query = { kinds = "of open, close, state and log, with commas; default: open,close,state" },
  })
end

return M
