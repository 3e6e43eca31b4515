-- Loggers in gost's forms.
--
--   local logger = log.default()
--   if logger:enabled "debug" then logger:debug("route", { "host", target }) end
--
-- Fields are a list of key, value, key, value …, or a map (written in the order of its keys), or both.
-- A line whose level is off costs one comparison.

local format = require "tidegate.process.log.format"
local mask = require "tidegate.config.mask"
local sink = require "tidegate.process.log.sink"

local M = {}

local LEVELS = { trace = 1, debug = 2, info = 3, warn = 4, error = 5, fatal = 6 }
local WARN = LEVELS.warn
local DEBUG = LEVELS.debug

local methods = {}
local mt = { __name = "tidegate.log", __index = methods }

local tap -- function(level, line): hears of each line

-- The list of a line's fields; those of a map come behind, in the order of their keys.
local function listed(fields)
  if next(fields, #fields > 0 and #fields or nil) == nil then
    return fields -- a list, as in all hot places
  end
  local list, names = {}, {}
  for i = 1, #fields do
    list[i] = fields[i]
  end
  for key in pairs(fields) do
    if type(key) == "string" then
      names[#names + 1] = key
    end
  end
  table.sort(names)
  for i = 1, #names do
    list[#list + 1], list[#list + 2] = names[i], fields[names[i]]
  end
  return list
end

-- "process/context.lua:42" of whoever logged.
local function caller(depth)
  local info = debug.getinfo(depth + 1, "Sl")
  local name = info and info.short_src:match("[^/]+/[^/]+$") or info and info.short_src or "?"
  return ("%s:%d"):format(name, info and info.currentline or 0)
end

-- Whether any key of a list is in another as well.
local function overlap(one, other)
  for i = 1, #one, 2 do
    for j = 1, #other, 2 do
      if one[i] == other[j] then
        return true
      end
    end
  end
  return false
end

local merge

-- What went wrong may quote anything: what a script raised, the URL that it asked for.
local function masked(message, fields)
  local list
  for i = 2, fields and #fields or 0, 2 do
    local text = fields[i]
    if type(text) == "string" and text:find("://", 1, true) then
      list = list or { unpack(fields) }
      list[i] = mask.text(text)
    end
  end
  return message:find("://", 1, true) and mask.text(message) or message, list or fields
end

local function emit(self, level, message, fields, depth)
  local after
  if self.level <= DEBUG then
    after = format.fields(self.form, { "caller", caller(depth + 1) })
  end
  local before, own = self.before, fields and listed(fields)
  if own and self.whole and overlap(own, self.fields) then
    before, own = "", merge(self.fields, own)
  end
  message = tostring(message)
  if LEVELS[level] >= WARN then
    message, own = masked(message, own)
  end
  local text = format.line(self.form, format.time(), level, message, before, own, after)
  self.sink:put(text, LEVELS[level] >= WARN)
  if tap then
    tap(level, text)
  end
end

--- @return whether lines of a level are written
function methods:enabled(level)
  return LEVELS[level] >= self.level
end

function methods:trace(message, fields)
  if self.level <= 1 then
    emit(self, "trace", message, fields, 2)
  end
end

function methods:debug(message, fields)
  if self.level <= 2 then
    emit(self, "debug", message, fields, 2)
  end
end

function methods:info(message, fields)
  if self.level <= 3 then
    emit(self, "info", message, fields, 2)
  end
end

function methods:warn(message, fields)
  if self.level <= 4 then
    emit(self, "warn", message, fields, 2)
  end
end

function methods:error(message, fields)
  if self.level <= 5 then
    emit(self, "error", message, fields, 2)
  end
end

--- Write a line of any level; who ends the process after "fatal" is the caller.
function methods:log(level, message, fields)
  if LEVELS[level] >= self.level then
    emit(self, level, message, fields, 2)
  end
end

-- Pairs of two lists; a key said twice keeps its place and takes the later value.
function merge(old, new)
  local out, at = {}, {}
  for _, list in ipairs { old, new } do
    for i = 1, #list, 2 do
      local key = list[i]
      if not at[key] then
        at[key] = #out + 1
        out[#out + 1] = key
        out[#out + 1] = false
      end
      out[at[key] + 1] = list[i + 1]
    end
  end
  return out
end

--- A logger that writes `fields` (a list of key, value, …) in each line.
function methods:with(fields)
  local merged = merge(self.fields, fields)
  return setmetatable({
    level = self.level,
    form = self.form,
    sink = self.sink,
    fields = merged,
    whole = true, -- `fields` are all there are
    before = format.fields(self.form, merged),
  }, mt)
end

--- The same, when none of the keys is there yet: cheaper, but with() forgets these fields.
function methods:extend(fields)
  return setmetatable({
    level = self.level,
    form = self.form,
    sink = self.sink,
    fields = self.fields,
    before = self.before .. format.fields(self.form, fields),
  }, mt)
end

local OFF = LEVELS.fatal + 1

--- Make a logger.
-- @param config {output, level, format, rotation}, or nil for the defaults
-- @param name of a named logger
-- @return the logger, and a warning (an error object) when its file cannot be opened
function M.new(config, name)
  config = config or {}
  local target, warning = sink.open(config.output, config.rotation)
  local self = setmetatable({
    level = target and (LEVELS[config.level] or LEVELS.info) or OFF,
    form = config.format == "text" and "text" or "json",
    sink = target,
    fields = {},
    before = "",
  }, mt)
  if name then
    self = self:with { "logger", name }
  end
  return self, warning
end

-- Several loggers as one.
local group_methods = {}
local group_mt = { __name = "tidegate.log.group", __index = group_methods }

function group_methods:enabled(level)
  return LEVELS[level] >= self.level
end

function group_methods:log(level, message, fields)
  for i = 1, #self do
    self[i]:log(level, message, fields)
  end
end

for level in pairs(LEVELS) do
  if level ~= "fatal" then
    group_methods[level] = function(self, message, fields)
      if LEVELS[level] >= self.level then
        self:log(level, message, fields)
      end
    end
  end
end

function group_methods:with(fields)
  local out = {}
  for i = 1, #self do
    out[i] = self[i]:with(fields)
  end
  return M.group(out)
end

function group_methods:extend(fields)
  local out = {}
  for i = 1, #self do
    out[i] = self[i]:extend(fields)
  end
  return M.group(out)
end

--- @return a logger that writes to each of a list
function M.group(loggers)
  if #loggers == 1 then
    return loggers[1]
  end
  local self = { level = OFF }
  for i, logger in ipairs(loggers) do
    self[i] = logger
    self.level = math.min(self.level, logger.level)
  end
  return setmetatable(self, group_mt)
end

local default

--- Set the process's logger up: `config` as in M.new().
-- @return a warning when its file cannot be opened
function M.configure(config)
  local warning
  default, warning = M.new(config)
  return warning
end

--- @return the process's logger
function M.default()
  if not default then
    M.configure()
  end
  return default
end

--- @return whether the process's logger writes lines of a level
function M.enabled(level)
  return LEVELS[level] >= M.default().level
end

--- Have a function hear of every line that is written: fn(level, line); nil: none.  It must not log.
function M.tap(fn)
  tap = fn
end

--- Let lines below "warn" wait until the loop comes round; `spawn` is task.spawn, nil ends it.
M.batch = sink.batch

--- Write what waits; before the process ends.
M.flush = sink.flush

return M
