-- What -C names, and where a configuration is looked for when nothing was named.

local failure = require "tidegate.failure"
local json = require "tidegate.config.json"
local reader = require "tidegate.config.reader"
local schema = require "tidegate.config.schema"
local source = require "tidegate.config.source"
local url = require "tidegate.config.url"
local yaml = require "tidegate.config.yaml"

local file = {}

local MAX_BODY = 10 * 1024 * 1024
local PARSERS = { yaml = yaml.parse, yml = yaml.parse, json = json.parse }

-- Formats gost's library reads and tidegate does not.
local FOREIGN = {}
for name in ("toml properties props prop hcl tfvars dotenv env ini"):gmatch("%S+") do
  FOREIGN[name] = true
end

local function complain(problems, place, message, line)
  local item = { file = place, line = line, message = message, severity = "error" }
  problems[#problems + 1] = item
  return item
end

local with_scripts

-- @return configuration
local function read_text(text, parser, mode, place, options)
  local root, err = parser(text)
  if not root then
    complain(options.problems, place, err.message or tostring(err), err.line)
    return {}
  end
  for _, problem in ipairs(err) do
    complain(options.problems, place, problem.message, problem.line)
  end
  local config, problems = reader.read(root, { file = place, mode = mode, marks = options.marks })
  for _, problem in ipairs(problems) do
    options.problems[#options.problems + 1] = problem
  end
  return config.scripts and not options.keep_scripts and with_scripts(config, options) or config
end

local function read_lua(path, options)
  local loader = options.loaders and options.loaders.lua
  if not loader then
    complain(options.problems, path, "Lua configurations need the tidegate executable")
    return {}
  end
  local value, err = loader(path)
  if value == nil and err ~= nil then
    local text = tostring(err)
    local line, rest = text:match("^" .. path:gsub("%p", "%%%0") .. ":(%d*):?%s*(.*)$")
    complain(options.problems, path, rest or text, tonumber(line)).of_script = true
    return {}
  elseif value == nil then
    return {}
  elseif type(value) ~= "table" then
    complain(options.problems, path, "must return a table, not a " .. type(value))
    return {}
  end
  local config, problems = reader.read_table(value, { file = path, marks = options.marks })
  for _, problem in ipairs(problems) do
    options.problems[#options.problems + 1] = problem
  end
  return config
end

--- Put configurations together: lists are joined, single objects replaced by later ones.
function file.merge(configs)
  local merged = {}
  for _, config in ipairs(configs) do
    for _, names in ipairs { schema.LISTS, schema.PLAIN_LISTS } do
      for _, name in ipairs(names) do
        for _, item in ipairs(config[name] or {}) do
          merged[name] = merged[name] or {}
          table.insert(merged[name], item)
        end
      end
    end
    for _, name in ipairs(schema.SINGLES) do
      if config[name] ~= nil then
        merged[name] = config[name]
      end
    end
  end
  return merged
end

--- Where a script defines what a file also describes, the script's wins; the name stays once.
function file.settle_scripted(config)
  for _, list in ipairs(schema.LISTS) do
    local described, kept = {}, {}
    for _, item in ipairs(config[list] or {}) do
      described[item.name or ""] = described[item.name or ""] or not item.scripted
    end
    for _, item in ipairs(config[list] or {}) do
      if not (item.scripted and described[item.name or ""]) then
        kept[#kept + 1] = item
      end
    end
    config[list] = config[list] and kept
  end
  return config
end

-- Evaluate the scripts a file names; what they declare comes behind what the file has.
function with_scripts(config, options)
  local parts = { config }
  local scripts = config.scripts
  config.scripts = nil
  for _, path in ipairs(scripts or {}) do
    parts[#parts + 1] = read_lua(path, options)
  end
  return #parts == 1 and config or file.merge(parts)
end

local function read_path(path, options)
  local kind = path:match("%.([^./]*)$")
  -- like gost, a file without extension is what the one before it was
  kind = kind or options.last_kind
  options.last_kind = kind
  if kind == "lua" then
    return read_lua(path, options)
  end
  local parser = PARSERS[kind]
  local text, err
  if not FOREIGN[kind] then
    text, err = source.read_file(path)
  end
  if err then
    complain(options.problems, path, "cannot be read: " .. (err.message or tostring(err)))
    return {}
  elseif not parser then
    complain(options.problems, path, (FOREIGN[kind] and ("%s files are not read"):format(kind)
      or kind and ("unknown format %q"):format(kind) or "what it is its name does not say")
      .. "; known are .yaml, .yml, .json and .lua")
    return {}
  end
  return read_text(text, parser, "file", path, options)
end

local CONTENT_TYPES = {
  ["application/json"] = "json",
  ["application/yaml"] = "yaml",
  ["application/x-yaml"] = "yaml",
  ["text/yaml"] = "yaml",
  ["text/x-yaml"] = "yaml",
}

local function read_url(address, options)
  local place = url.redact(address)
  local answer, err = source.fetch(address)
  if not answer then
    complain(options.problems, place, "cannot be fetched: " .. tostring(err))
    return {}
  elseif answer.status ~= 200 then
    complain(options.problems, place, ("answered with status %s"):format(tostring(answer.status)))
    return {}
  elseif #answer.body > MAX_BODY then
    complain(options.problems, place, "is longer than 10 MiB")
    return {}
  end
  local content = (answer.content_type or ""):lower():match("^%s*([^;%s]*)")
  local path = address:match("^[^?#]*")
  local kind = CONTENT_TYPES[content] or (path:match("%.(%w+)$") or ""):lower()
  return read_text(answer.body, PARSERS[kind] or yaml.parse, "file", place, options)
end

--- Read one -C.
-- @param options { problems = list to append to, marks = table to fill, loaders = { lua = function(
--   path) → table | nil, err }, last_kind = kept between calls, keep_scripts = do not run the scripts a
--   file names }
-- @return configuration
function file.read(text, options)
  text = text:match("^%s*(.-)%s*$")
  if text == "" then
    return {}
  elseif text == "-" then
    local body, err = source.read_stdin()
    if not body then
      complain(options.problems, "standard input", tostring(err))
      return {}
    end
    local parser = body:sub(1, 1) == "{" and json.parse or yaml.parse
    return read_text(body, parser, "file", "standard input", options)
  elseif text:sub(1, 1) == "{" then
    return read_text(text, json.parse, "json", "-C {…}", options)
  elseif text:lower():find("^https?://[^/]") then
    return read_url(text, options)
  end
  return read_path(text, options)
end

--- Where a configuration is looked for, in order.
function file.search_path()
  local directories = { "/etc/gost/" }
  local home = source.getenv("HOME")
  if home then
    directories[#directories + 1] = home .. "/.gost/"
  end
  directories[#directories + 1] = ""

  local paths = {}
  for _, directory in ipairs(directories) do
    for _, kind in ipairs { "json", "toml", "yaml", "yml" } do
      paths[#paths + 1] = directory .. "gost." .. kind
    end
    for _, kind in ipairs { "yml", "yaml", "json", "lua" } do
      paths[#paths + 1] = directory .. "tidegate." .. kind
    end
  end
  return paths
end

--- Find and read the default configuration.  @return configuration | nil, err
function file.search(options)
  for _, path in ipairs(file.search_path()) do
    if source.exists(path) then
      return read_path(path, options)
    end
  end
  return nil, failure.new("config",
    "nothing to do: give -L or -C, or put gost.yaml or tidegate.yaml, .json, .lua into "
      .. "/etc/gost, ~/.gost or here")
end

return file
