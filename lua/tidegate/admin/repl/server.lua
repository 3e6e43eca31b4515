-- The REPL's side in the running process: a unix socket in the control thread, one JSON object a line.
--
--   {"op":"eval","text":…,"worker":"control"|"all"|N,"wait":bool}   {"op":"complete","text":…,"worker":…}
--   {"op":"command","text":":reload"}   {"op":"figures","sort":…,"limit":N,"filter":{…}}
--
-- and the answer {"ok":bool,"text":…} or {"more":true}; for "complete" {"word":…,"list":[…]}, for
-- "figures" what `tidegate top` shows.  Only the user that runs the process, and root, are served.

local cjson = require "cjson"
local commands = require "tidegate.admin.repl.commands"
local evaluate = require "tidegate.admin.repl.evaluate"
local failure = require "tidegate.failure"
local listener = require "tidegate.native.listener"
local luv = require "luv"
local ranking = require "tidegate.process.ranking"
local task = require "tidegate.native.task"

local M = {}

local LINE_MAX = 1024 * 1024
local IDLE_MS = 24 * 3600 * 1000
local SESSIONS_MAX = 256
local PAGE_MAX = 1000 -- connections shown at once
local WAIT_MS = 60000 -- for an evaluation that waits
local QUICK_MS = 2000 -- for who waits at the keyboard

local sessions = 0

local ops = {}

-- @return texts by worker, joined; ok when all are
local function join(answers)
  local texts, ok = {}, true
  for i, one in ipairs(answers) do
    if one.more then
      return one
    end
    ok = ok and one.ok
    local text = #answers > 1 and ("worker %d: %s"):format(i, one.text) or one.text
    texts[#texts + 1] = text ~= "" and text or nil
  end
  return { ok = ok, text = table.concat(texts, "\n") }
end

function ops.eval(request, control)
  local where = request.worker or "control"
  local options = { wait = request.wait == true }
  if where == "control" then
    return evaluate.run(tostring(request.text), options)
  end
  local question = { type = "eval", text = tostring(request.text), wait = options.wait }
  local answers, err = control.ask(where, question, WAIT_MS)
  if not answers then
    return { ok = false, text = err }
  end
  return join(answers)
end

function ops.complete(request, control)
  local line = tostring(request.text)
  if line:find "^:" and not line:find "^:wait%s" then
    local word, list = commands.complete(line, control)
    return { word = word, list = list }
  end
  local where = request.worker == "all" and 1 or request.worker or "control"
  if where == "control" then
    local word, list = evaluate.complete(line)
    return { word = word, list = list }
  end
  local answers = control.ask(where, { type = "complete", text = line }, QUICK_MS)
  return answers and answers[1] or { word = "", list = {} }
end

function ops.command(request, control)
  return commands.run(tostring(request.text), control)
end

local FILTERS = { "service", "client", "user", "host" }

function ops.figures(request, control)
  control.look()
  local filter, wanted = {}, type(request.filter) == "table" and request.filter or {}
  for _, key in ipairs(FILTERS) do
    filter[key] = type(wanted[key]) == "string" and wanted[key] or nil
  end
  local limit = math.max(math.min(tonumber(request.limit) or 20, PAGE_MAX), 0)
  local sort = ranking.ORDERS[request.sort] and request.sort or "rate"
  return {
    ok = true, figures = control.figures(), nodes = control.nodes(),
    connections = control.connections(filter, 0, limit, sort),
  }
end

local function answer_line(line, control)
  local ok, request = pcall(cjson.decode, line)
  local op = ok and type(request) == "table" and ops[request.op]
  if not op then
    return { ok = false, text = "not a request" }
  end
  local whole, result = xpcall(op, debug.traceback, request, control)
  return whole and result or { ok = false, text = type(result) == "string" and result or "raised" }
end

local function serve(stream, control)
  while true do
    stream:set_deadline(task.now() + IDLE_MS)
    local line = stream:read_until("\n", LINE_MAX)
    if not line then
      return
    end
    local text = cjson.encode(answer_line(line, control))
    stream:set_deadline(task.now() + WAIT_MS)
    if not stream:write(text, "\n") then
      return
    end
  end
end

local function allowed(stream)
  local uid = stream:peer_user()
  return uid ~= nil and (uid == 0 or uid == luv.getuid())
end

--- Listen.
-- @param path of the socket; one that is there gives way, anything else does not
-- @param control what the control thread lets the REPL do: config, reload, ask, everywhere, collect, log
-- @return handle with close() | nil, err
function M.open(path, control)
  local stat = luv.fs_lstat(path)
  if stat and stat.type == "socket" then
    os.remove(path)
  end
  local fds, err = listener.open("unix:" .. path, "stream", 1, nil)
  if not fds then
    return nil, failure.wrap(err, "io"):during("REPL socket " .. path)
  end
  luv.fs_chmod(path, 384) -- 0600
  local acceptor
  acceptor, err = listener.accept(fds[1], function(stream)
    if not allowed(stream) or sessions >= SESSIONS_MAX then
      return stream:close()
    end
    sessions = sessions + 1
    local ok, why = xpcall(serve, debug.traceback, stream, control)
    sessions = sessions - 1
    stream:close()
    if not ok then
      control.log:error("raised: " .. (type(why) == "string" and why or type(why)), { "kind", "repl" })
    end
  end, function() end)
  if not acceptor then
    listener.close_fd(fds[1])
    return nil, err
  end
  return {
    path = path,
    close = function(keep_path)
      acceptor:close()
      listener.close_fd(fds[1])
      if not keep_path then
        os.remove(path)
      end
    end,
  }
end

--- Listen where the command line says, or at the usual place; that it cannot be is no reason not to serve.
-- @param where path, "off", or nil for `usual`
-- @return handle with close() | nil
function M.start(where, control, usual)
  if where == "off" then
    return nil
  end
  evaluate.provide("config", control.config)
  evaluate.provide("reload", function()
    return control.reload
  end)
  local path = where and where ~= "" and where or usual
  local handle, err = nil, "no folder for its socket"
  if path then
    handle, err = M.open(path, control)
  end
  if not handle then
    control.log:log(where and "error" or "debug", "no REPL: " .. tostring(err))
  end
  return handle
end

return M
