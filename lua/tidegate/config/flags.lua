-- The command line by the rules of Go's flag package: one dash or two, -x v or -x=v, booleans only
-- as -x or -x=true; the first word that is no flag ends it.

local duration = require "tidegate.config.duration"
local failure = require "tidegate.failure"
local nearest = require "tidegate.config.nearest"
local sorted = require "tidegate.sorted"

local flags = {}

-- { flag, kind, key of the result, text of the usage, least =, most = of numbers }
local FLAGS = {
  { "L", "list", "services", "service list" },
  { "F", "list", "nodes", "chain node list" },
  { "C", "list", "configs", "config file(s), URL(s), or inline JSON" },
  { "O", "string", "output", "output format, one of yaml|json format" },
  { "D", "bool", "debug", "debug mode" },
  { "DD", "bool", "trace", "trace mode" },
  { "V", "bool", "version", "print version" },
  { "api", "string", "api", "api service address" },
  { "metrics", "string", "metrics", "metrics service address" },
  { "R", "duration", "reload", "auto reload period (e.g. 30s, 1m)" },
  { "workers", "int", "workers", "worker threads (default: one a CPU)", least = 1, most = 256 },
  { "drain", "duration", "drain", "how long connections may go on at the end (default 30s)" },
  { "repl", "string", "repl", "path of the REPL's socket, or \"off\" (default: one in a private folder)" },
  { "socket", "string", "socket", "repl, eval, top, upgrade: the socket to use (default: the process started last)" },
  { "worker", "string", "worker", "repl, eval: where to evaluate: control, all or a number" },
  { "n", "int", "count", "top: print so many times and end" },
  { "once", "bool", "once", "top: print once and end, as -n 1" },
  { "every", "duration", "every", "top: how long between two looks (default 1s)" },
  { "sort", "string", "sort", "top: which connections come first, one of rate|bytes|input|output|age" },
  { "to", "string", "to", "convert: the notation to print, one of yaml|json|lua|url" },
  { "rocks-tree", "string", "rocks_tree", "tree of luarocks whose modules scripts may require" },
  { "dev-lua", "string", "dev_lua", "directory of Lua sources to use before the built-in ones" },
}

--- All flags, see above.
flags.FLAGS = FLAGS

local BY_NAME, NAMES = {}, {}
for _, flag in ipairs(FLAGS) do
  BY_NAME[flag[1]] = flag
  NAMES[#NAMES + 1] = flag[1]
end

local TRUE = { ["1"] = true, t = true, T = true, TRUE = true, ["true"] = true, True = true }
local FALSE = { ["0"] = true, f = true, F = true, FALSE = true, ["false"] = true, False = true }

local COMMANDS = {
  check = true, repl = true, eval = true, top = true, upgrade = true, doc = true, init = true, convert = true,
}

-- Commands whose further words are what others give with -C.
local TAKES_FILES = { check = true, convert = true }

--- The commands, and what they do: { name, arguments, text }.
flags.COMMANDS = {
  { "", "[flags]", "serve" },
  { "check", "[flags] [FILE...]", "find all that is wrong with a configuration, exit with 0 or 2" },
  { "doc", "NAME", "what a listener, handler, dialer, connector or object of the configuration takes" },
  { "init", "[FILE]", "write a commented configuration to begin with (default tidegate.yml, - for stdout)" },
  { "convert", "--to FORMAT [flags] [FILE...]", "print a configuration as yaml, json, lua or url" },
  { "repl", "[flags]", "talk to a running process" },
  { "top", "[flags] [KEY=VALUE...]", "show what a running process carries, and for whom" },
  { "upgrade", "[flags]", "have a running process hand over to the executable as it is now, exit with 0 or 1" },
  { "eval", "[flags] EXPR", "have it evaluate one expression, exit with 0 or 1" },
}

local function bad(message, ...)
  return nil, failure.new("config", message:format(...))
end

-- kind → function(text) → value | nil
local read = {
  list = tostring,
  string = tostring,
  duration = function(text)
    return (duration.parse(text))
  end,
  int = function(text)
    return text:find("^%d+$") and tonumber(text) or nil
  end,
  bool = function(text)
    if TRUE[text] or FALSE[text] then
      return TRUE[text] or false
    end
  end,
}

local WANTED = { duration = "a duration like 30s", int = "a number", bool = "true or false" }

local function store(options, flag, text)
  local value = read[flag[2]](text)
  if value == nil then
    local what = flag[2] == "bool" and "boolean value" or "value"
    return bad("invalid %s %q for -%s: it takes %s", what, text, flag[1], WANTED[flag[2]])
  elseif flag.least and (value < flag.least or value > flag.most) then
    return bad("invalid value %q for -%s: %d to %d are possible", text, flag[1], flag.least, flag.most)
  end
  if flag[2] == "list" then
    table.insert(options[flag[3]], value)
  else
    options[flag[3]] = value
  end
  return true
end

-- What somebody may have meant whose first word is neither a command nor a flag.
local function no_command(word)
  if word:find("://", 1, true) or word:find "^:%d" then
    return ("%q is no command; a service is given as -L %s"):format(word, word)
  elseif word:find "%.ya?ml$" or word:find "%.json$" or word:find "%.lua$" then
    return ("%q is no command; a configuration is given as -C %s"):format(word, word)
  end
  return ("there is no command %q%s"):format(word, nearest.hint(word, sorted(COMMANDS)))
end

--- Parse the arguments, the program's name not among them.
-- @return { services, nodes, configs, output, debug, trace, version, api, metrics, reload, workers,
--   drain, dev_lua, help, command, rest } | nil, err
function flags.parse(argv)
  local options = { services = {}, nodes = {}, configs = {}, drain = 30, rest = {} }
  local i = 1
  if argv[1] == "help" or argv[1] == "version" then
    options[argv[1]] = true
    return options
  elseif COMMANDS[argv[1]] then
    options.command = argv[1]
    i = 2
  end
  while i <= #argv do
    local word = argv[i]
    local dashes, name = word:match("^(%-%-?)(.*)$")
    if TAKES_FILES[options.command] and (not dashes or word == "-") then
      table.insert(options.configs, word)
      goto next
    elseif not dashes or word == "-" then
      break
    elseif word == "--" then
      i = i + 1
      break
    elseif name:find("^[-=]") then
      return bad("bad flag syntax: %s", word)
    end

    do
      local text
      name, text = name:match("^([^=]*)=?(.*)$")
      local has_value = word:find("=", 1, true) ~= nil
      local flag = BY_NAME[name]
      if not flag and (name == "h" or name == "help") then
        options.help = true
        return options
      elseif not flag then
        return bad("flag provided but not defined: -%s%s", name, nearest.hint(name, NAMES))
      end
      if not has_value and flag[2] == "bool" then
        text = "true"
      elseif not has_value then
        i = i + 1
        text = argv[i]
        if text == nil then
          return bad("flag needs an argument: -%s", name)
        end
      end
      local ok, err = store(options, flag, text)
      if not ok then
        return nil, err
      end
    end
    ::next::
    i = i + 1
  end
  options.rest = { unpack(argv, i) }
  if options.rest[1] and i == 1 and options.rest[1] ~= "-" then
    return bad("%s", no_command(options.rest[1]))
  end
  return options
end

--- Split "a -- b -- c" into the arguments of several workers.
-- @return list of argument lists | nil when this is the command line of one
function flags.split_workers(argv)
  local list, from, split = {}, 1, false
  for i, word in ipairs(argv) do
    if word == "--" and i > 1 and i < #argv then
      list[#list + 1] = { unpack(argv, from, i - 1) }
      from, split = i + 1, true
    end
  end
  if not split then
    return nil
  end
  list[#list + 1] = { unpack(argv, from) }
  for i = #list, 1, -1 do
    if #list[i] == 0 then
      table.remove(list, i)
    end
  end
  return list
end

--- @return the usage text
function flags.usage()
  local lines = { "Usage of tidegate:\n" }
  for _, command in ipairs(flags.COMMANDS) do
    local words = ("tidegate %s %s"):format(command[1], command[2]):gsub("  +", " ")
    lines[#lines + 1] = ("  %-29s %s\n"):format(words, command[3])
  end
  lines[#lines + 1] = "  tidegate [flags] -- [flags]   one process for each part\n"
  for _, flag in ipairs(FLAGS) do
    local kind = flag[2] == "list" and "value" or flag[2]
    lines[#lines + 1] = kind == "bool" and ("  -%s\n        %s\n"):format(flag[1], flag[4])
      or ("  -%s %s\n        %s\n"):format(flag[1], kind, flag[4])
  end
  return table.concat(lines)
end

return flags
