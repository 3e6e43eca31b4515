-- What a line that begins with a colon does.  Commands run in the control thread.

local doc = require "tidegate.admin.repl.doc"
local luv = require "luv"
local nearest = require "tidegate.config.nearest"
local print = require "tidegate.admin.repl.print"
local profile = require "tidegate.process.profile"

local M = {}

local commands = {} -- name → { arguments, what it does, fn(argument, control), nil or what its argument may be }

--- Those that whoever asks does by itself.
M.BY_CLIENT = {
  { ":quit", "leave; so does Ctrl-D" },
  { ":wait EXPRESSION", "evaluate what waits, for up to a minute" },
  { ":worker N|all|control", "where what follows is evaluated" },
}

local LEVELS = { "trace", "debug", "info", "warn", "error" }

local columns = print.columns

commands.help = { "", "this list", function()
  local rows = {}
  for name, command in pairs(commands) do
    rows[#rows + 1] = { ":" .. name .. " " .. command[1], command[2] }
  end
  for _, name in ipairs(M.BY_CLIENT) do
    rows[#rows + 1] = name
  end
  table.sort(rows, function(a, b)
    return a[1] < b[1]
  end)
  rows[#rows + 1] = { "EXPRESSION", "evaluated where :worker says; what is assigned stays" }
  rows[#rows + 1] = { "Tab, arrows", "complete a name; edit, and recall earlier lines" }
  return columns(rows)
end }

commands.services = { "", "services and where they listen", function(_, control)
  local rows = { { "NAME", "ADDRESS", "LISTENER", "HANDLER", "CHAIN" } }
  for _, service in ipairs(control.config().services or {}) do
    rows[#rows + 1] = {
      service.name, control.address and control.address(service.name) or service.addr or "", service.listener.type,
      service.handler.type, service.handler.chain or "-",
    }
  end
  return columns(rows)
end }

local function age(seconds)
  return seconds < 120 and ("%.1fs"):format(seconds) or ("%.0fm"):format(seconds / 60)
end

local FILTERS = { service = true, client = true, user = true, host = true }

local function show_connections(argument, control)
  local filter = {}
  for word in argument:gmatch "%S+" do
    local key, value = word:match "^(%w+)=(.+)$"
    if not FILTERS[key] then
      return nil, "filters are service=, client=, user= and host="
    end
    filter[key] = value
  end
  local found = control.connections(filter, 0, 50)
  local rows = { { "SID", "SERVICE", "CLIENT", "USER", "IN", "OUT", "AGE", "ROUTE" } }
  for _, item in ipairs(found.items) do
    rows[#rows + 1] = {
      item.sid or "-", item.service or "-", item.client or "-", item.user or "-", item.inputBytes, item.outputBytes,
      age(item.age), item.route or item.host or "-",
    }
  end
  return ("%s\n%d of %d"):format(columns(rows), #found.items, found.total)
end

commands.connections = { "[KEY=VALUE …]", "50 of them; by service, client, user, host", show_connections,
  function(control)
    local list = { "client=", "host=", "user=" }
    for _, service in ipairs(control.config().services or {}) do
      list[#list + 1] = "service=" .. service.name
    end
    return list
  end }

commands.kill = { "SID", "close a connection", function(argument, control)
  if argument == "" or not control.disconnect(argument) then
    return nil, "there is no such connection"
  end
  return "closed"
end, function(control)
  local list = {}
  for i, item in ipairs(control.connections({}, 0, 100).items) do
    list[i] = item.sid
  end
  return list
end }

commands.nodes = { "", "nodes of hops and forwarders, and how they are", function(_, control)
  local rows = { { "OF", "NODE", "ADDRESS", "STATE", "FAILS", "LATENCY", "CONNECTIONS" } }
  for _, item in ipairs(control.nodes()) do
    local latency = item.probeLatency or item.latency
    rows[#rows + 1] = {
      item.hop or item.chain or item.service or "-", item.name, item.addr,
      item.failed and "failed" or item.healthy and "healthy" or "-", item.fails,
      latency and latency > 0 and ("%.1f ms"):format(latency * 1000) or "-", item.connections or "-",
    }
  end
  return columns(rows)
end }

-- The functions that were on top of most samples.
local function summary(list)
  local tops, total, rows = {}, 0, { { "SAMPLES", "SHARE", "WHERE" } }
  for _, one in ipairs(list) do
    for stack, samples in pairs(profile.named(one)) do
      local top = one[1] .. "  " .. (stack:gsub(";$", ""):match "[^;]*$")
      tops[top] = (tops[top] or 0) + samples
      total = total + samples
    end
  end
  local order = {}
  for top in pairs(tops) do
    order[#order + 1] = top
  end
  table.sort(order, function(a, b)
    return tops[a] > tops[b]
  end)
  for i = 1, math.min(#order, 20) do
    rows[#rows + 1] = { tops[order[i]], ("%.1f%%"):format(100 * tops[order[i]] / total), order[i] }
  end
  return total > 0 and columns(rows) or "no samples: nothing has run"
end

local function show_profile(argument, control)
  local seconds, where, kind = argument:match "^(%S*)%s*(%S*)%s*(%S*)$"
  seconds = tonumber(seconds == "" and 5 or seconds)
  if not seconds or seconds <= 0 or seconds > 60 then
    return nil, "SECONDS are a number, at most 60"
  end
  local list, err = control.profile(where == "" and "all" or where, seconds, kind ~= "" and kind or nil)
  if not list then
    return nil, err
  end
  return summary(list)
end

commands.profile = { "[SECONDS [WORKER [lua|c]]]", "where the time goes; 5 seconds, all workers, Lua",
  show_profile }

commands.reload = { "", "read the configuration again", function(_, control)
  local ok, problems = control.reload()
  if ok then
    return "reloaded"
  end
  local texts = {}
  for i, problem in ipairs(problems) do
    texts[i] = tostring(problem)
  end
  return nil, table.concat(texts, "\n")
end }

commands.upgrade = { "", "start the executable again and have it take over", function(_, control)
  local pid, err = control.upgrade()
  return pid and ("process %d has taken over; process %d ends once its connections have"):format(pid,
    luv.os_getpid()), err
end }

commands.log = { "LEVEL", "trace, debug, info, warn or error, until the next reload", function(argument, control)
  if not (" " .. table.concat(LEVELS, " ") .. " "):find(" " .. argument .. " ", 1, true) then
    return nil, "levels are trace, debug, info, warn and error"
  end
  local ok, problems = control.change(function(config)
    config.log = config.log or {}
    config.log.level = argument
  end)
  if not ok then
    return nil, tostring(problems[1])
  end
  return "lines below " .. argument .. " are left out"
end, function()
  return LEVELS
end }

commands.gc = { "", "collect garbage in every VM", function(_, control)
  local rows = { { "VM", "BEFORE", "AFTER" } }
  for name, sizes in pairs(control.collect()) do
    rows[#rows + 1] = { name, ("%.0f KiB"):format(sizes[1]), ("%.0f KiB"):format(sizes[2]) }
  end
  table.sort(rows, function(a, b)
    return a[1] == "VM" or b[1] ~= "VM" and a[1] < b[1]
  end)
  return columns(rows)
end }

commands.doc = { "NAME", "what a component or an object of the configuration takes", function(argument)
  return doc.text(argument)
end, doc.names }

--- Add a command.
-- @param fn function(argument, control) → text | nil, what is wrong
function M.add(name, argument, what, fn)
  commands[name] = { argument, what, fn }
end

--- @return the sorted names of all commands, with their colons
function M.names()
  local names = {}
  for name in pairs(commands) do
    names[#names + 1] = ":" .. name
  end
  for _, one in ipairs(M.BY_CLIENT) do
    names[#names + 1] = one[1]:match "^:%w+"
  end
  table.sort(names)
  return names
end

-- What the argument of a command may be.
local function arguments_of(name, control)
  if name == "worker" then
    local list = { "all", "control" }
    for id = 1, control.workers() do
      list[#list + 1] = tostring(id)
    end
    return list
  end
  local command = commands[name]
  return command and command[4] and command[4](control) or {}
end

--- What a line that begins with a colon could go on with.
-- @return the end of the line that is being typed, a sorted list of what could stand there instead
function M.complete(line, control)
  local name, word = line:match "^:(%w+)%s.-(%S*)$"
  local found = {}
  for _, one in ipairs(name and arguments_of(name, control) or M.names()) do
    found[#found + 1] = one:sub(1, #(word or line)) == (word or line) and one or nil
  end
  table.sort(found)
  return word or line, found
end

--- Run one.  @param line ":log debug"
-- @return { ok, text }
function M.run(line, control)
  local name, argument = line:match "^:(%w*)%s*(.-)%s*$"
  local command = commands[name or ""]
  if not command then
    return { ok = false, text = ("there is no command :%s%s; :help lists them"):format(name or "",
      nearest.hint(":" .. (name or ""), M.names())) }
  end
  local text, err = command[3](argument, control)
  return { ok = text ~= nil, text = text or err }
end

return M
