-- The cookbook: its page read, its recipes carried out as a reader would, on ports of our own.
--
-- A recipe is a heading `## 7. Title`.  In it
--   * a paragraph [`examples/x.yml`](../examples/x.yml): and the fenced block behind it quote that file;
--   * a fenced block of the language "console" is a terminal: `$ command`, or `server$ command` to say where,
--     and below it what is printed; "…" stands for anything.
--
-- Commands that end in " &" are started and kept; all others are run to their end in a folder that has the
-- examples, and what they print is compared.

local examples = require "spec.helpers.examples"
local helpers = require "spec.helpers"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local task = require "tidegate.native.task"
local uv = require "luv"

local M = {}

local PAGE = "docs/cookbook.md"
local PATIENCE_MS = 30000

-- The commands of a terminal: list of { place, command, output }
local function commands(lines)
  local list = {}
  for _, line in ipairs(lines) do
    local place, command = line:match "^(%l*)[$] (.*)$"
    local last = list[#list]
    if command then
      list[#list + 1] = { place = place, command = command, output = {} }
    elseif last and last.command:find "\\$" then
      last.command = last.command:gsub("%s*\\$", " ") .. line:gsub("^%s+", "")
    else
      assert(last, "a terminal begins with a command: " .. line)
      last.output[#last.output + 1] = line
    end
  end
  return list
end

local function block(recipe, language, lines, path)
  if language == "console" then
    for _, command in ipairs(commands(lines)) do
      recipe.steps[#recipe.steps + 1] = command
    end
  elseif path then
    recipe.files[#recipe.files + 1] = { path = path, text = table.concat(lines, "\n") .. "\n" }
  end
end

local recipe_mt = {}
recipe_mt.__index = recipe_mt

--- Whether a text occurs in a file or a command.
function recipe_mt:mentions(text)
  for _, file in ipairs(self.files) do
    if file.text:find(text, 1, true) then
      return true
    end
  end
  for _, step in ipairs(self.steps) do
    if step.command:find(text, 1, true) then
      return true
    end
  end
  return false
end

--- The recipes of the page: list of { number, title, files = { { path, text } … }, steps = { … } }
function M.recipes()
  local list, path, fence, lines = {}, nil, nil, nil
  for line in examples.read(PAGE):gmatch "([^\n]*)\n" do
    local number, title = line:match "^## (%d+)%. (.*)$"
    local opened = line:match "^```(%l*)$"
    if fence and opened == "" then
      block(list[#list], fence, lines, path)
      fence, path = nil, nil
    elseif fence then
      lines[#lines + 1] = line
    elseif opened then
      fence, lines = opened, {}
    elseif number then
      list[#list + 1] = setmetatable({ number = tonumber(number), title = title, files = {}, steps = {} }, recipe_mt)
    elseif line ~= "" then
      local named, target = line:match "^%[`([^`]+)`%]%(([^)]+)%):$"
      assert(not named or target == "../" .. named, "a link that leads elsewhere: " .. line)
      path = named
    end
  end
  return list
end

-- What a text says, "…" being anything.
local function says(text, wanted)
  local pattern = wanted:gsub("%p", "%%%0"):gsub("…", "\1"):gsub("%%\226%%\128%%\166", "\1"):gsub("\1", ".+")
  return text:find("^" .. pattern .. "$") ~= nil
end

local function trimmed(text)
  return (text:gsub("\r", ""):gsub("[ \t]+\n", "\n"):gsub("%s+$", ""))
end

local kitchen = {}
kitchen.__index = kitchen

--- A folder with the examples in it, where recipes are carried out.
-- @param recipe of recipes()
-- @param replace what stands for what: list of { text, by [, true: there are ports of the page in it] }
function M.kitchen(recipe, replace)
  local self = setmetatable({
    recipe = recipe, replace = replace or {}, ports = {}, folder = programs.folder(), started = {}, printed = "",
  }, kitchen)
  self.env = {
    HOME = self.folder, LC_ALL = "C.UTF-8", TZ = "UTC", TIDEGATE_BIN = proxy.executable,
    PATH = self.folder .. "/bin:" .. os.getenv "PATH" .. ":/usr/sbin:/sbin", XDG_RUNTIME_DIR = self.folder,
  }
  programs.output("sh", { "-c", ("mkdir '%s/bin' && ln -s '%s' '%s/bin/tidegate' && cp -r examples rocks '%s'")
    :format(self.folder, proxy.executable, self.folder, self.folder) })
  self:find_ports()
  for _, file in ipairs(recipe.files) do
    programs.file(self.folder, file.path, self:adapted(file.text))
  end
  return self
end

-- Every port of the recipe that is not a well-known one gets a free one in its place.
function kitchen:find_ports()
  local function find(text)
    for _, pair in ipairs(self.replace) do
      text = text:gsub(pair[1]:gsub("%p", "%%%0"), pair[3] and "%0" or "")
    end
    for port in text:gmatch ":(%d%d%d%d%d?)%f[%D]" do
      self.ports[port] = self.ports[port] or tostring(programs.free_port())
    end
  end
  for _, file in ipairs(self.recipe.files) do
    find(file.text)
  end
  for _, step in ipairs(self.recipe.steps) do
    find(step.command)
  end
end

--- A text of the recipe, with our ports and stand-ins.
function kitchen:adapted(text)
  local function with_ports(part)
    return (part:gsub("%f[%w]%d%d%d%d%d?%f[%W]", self.ports))
  end
  local places = {}
  for i, pair in ipairs(self.replace) do
    places[i] = { pair[1], pair[3] and with_ports(pair[2]) or pair[2] }
  end
  return (examples.replaced(text, places, with_ports))
end

--- The port that stands for one of the recipe.
function kitchen:port(port)
  return tonumber((assert(self.ports[tostring(port)], port)))
end

local function services_in(text)
  local indent, count = nil, 0
  local section = ("\n" .. text):match "\nservices:[^\n]*\n(.-)\n%l" or ("\n" .. text):match "\nservices:[^\n]*\n(.*)$"
  for line in (section or ""):gmatch "[^\n]+" do
    local before = line:match "^(%s*)%- "
    indent = indent or before
    count = count + (before and before == indent and 1 or 0)
  end
  return count + select(2, text:gsub("tg%.service%f[^%w_]", ""))
end

-- How many services a command line has.
function kitchen:services(arguments)
  local count = select(2, (" " .. arguments):gsub(" %-L ", ""))
  for path in (" " .. arguments):gmatch " %-C ([^%s&]+)" do
    count = count + services_in(examples.read(self.folder .. "/" .. path))
  end
  return count
end

--- Start a tidegate as the command says.  @return proxy
function kitchen:serve(command)
  local before, arguments = command:match "^(.-)tidegate (.*)$"
  arguments = arguments:gsub("%s*&$", "")
  before = before:gsub("^sudo ", ""):gsub("^.+$", "export %0;")
  local p = proxy.start({}, {
    shell = ("cd '%s' && %s exec %s \"$@\" %s"):format(self.folder, before, self.inside or "", arguments),
    services = self:services(arguments), env = self.env,
  })
  self.started[#self.started + 1] = p
  return p
end

--- Run a command.  @return what it printed, its exit code
function kitchen:run(command)
  command = ("{ %s%s\n} 2>&1"):format(self.inside or "", (command:gsub("^sudo ", "")))
  local result = programs.run("sh", { "-c", command }, { cwd = self.folder, env = self.env, seconds = 60 })
  return trimmed(result.stdout), result.code
end

--- Run a command that must succeed.
function kitchen:sh(command)
  return programs.output("sh", { "-c", command }, { cwd = self.folder, env = self.env })
end

-- Do one step; what it prints must be what the page says (when `patient`: soon).
function kitchen:step(step)
  local command, wanted = self:adapted(step.command), trimmed(self:adapted(table.concat(step.output, "\n")))
  local is_kept = command:find " &$"
  if is_kept and (command:find "^[%u_=%d.:/ ]*tidegate " or command:find "^sudo tidegate ") then
    return self:serve(command)
  elseif is_kept then
    local port = command:match "%-l (%d%d%d%d%d?)" or command:match "%d%d%d%d%d?"
    self.started[#self.started + 1] = programs.start("sh", { "-c", "exec " .. command:gsub(" &$", "") },
      { cwd = self.folder, env = self.env, port = port })
    return
  end
  local limit = task.now() + PATIENCE_MS
  local got = self:run(command)
  while self.patient and wanted ~= "" and not says(got, wanted) and task.now() < limit do
    task.sleep(0.1)
    got = self:run(command)
  end
  self.printed = got
  if wanted ~= "" and not says(got, wanted) then
    local logs = {}
    for i, one in ipairs(self.started) do
      logs[i] = one.log and one:log() or one.stdout .. one.stderr
    end
    error(("$ %s\nprinted:\n%s\ninstead of:\n%s\n%s"):format(command, got, wanted, table.concat(logs, "\n")), 0)
  end
end

--- Do all the steps in order.  `before[n]` and `after[n]` are called around the step of that number.
function kitchen:cook(entry)
  for i, step in ipairs(self.recipe.steps) do
    if entry.before and entry.before[i] then
      entry.before[i](self)
    end
    self:step(step)
    if entry.after and entry.after[i] then
      entry.after[i](self)
    end
  end
end

--- Wait until something is so.
function kitchen:eventually(condition, message) -- luacheck: ignore self
  helpers.eventually(condition, message)
end

--- Whether a file is there, in the kitchen.
function kitchen:exists(name)
  return uv.fs_stat(self.folder .. "/" .. name) ~= nil
end

return M
