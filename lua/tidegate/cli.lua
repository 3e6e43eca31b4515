-- The command line to a configuration, and what the program does with it.
--
-- `host` is what the runtime offers: run(config, options), spawn_workers(list of argument lists),
-- stdout(text), stderr(text), and optionally load_script(path) → table | nil, err, scripted(paths) → what the
-- scripts define, dev_lua(dir) and version.

local component = require "tidegate.component"
local convert = require "tidegate.config.convert"
local lazy = require "tidegate.lazy"
local doc = lazy "tidegate.admin.repl.doc"
local file = require "tidegate.config.file"
local flags = require "tidegate.config.flags"
local normalize = require "tidegate.config.normalize"
local problem = require "tidegate.config.problem"
local source = require "tidegate.config.source"
local starter = require "tidegate.config.starter"
local url = require "tidegate.config.url"
local validate = require "tidegate.config.validate"
local writer = require "tidegate.config.writer"

local cli = {}

cli.VERSION = "0.1.0"

--- Parse arguments.  @return options | nil, err
cli.parse = flags.parse

-- Reading and merging -----------------------------------------------------------------------------

local function is_known(kind, name)
  return component.find(kind, name) ~= nil
end

local function apply_environment(config)
  local level = source.getenv("GOST_LOGGER_LEVEL")
  if level then
    config.log = config.log or {}
    config.log.level = level
  end
  for name, variable in pairs {
    api = "GOST_API", metrics = "GOST_METRICS", profiling = "GOST_PROFILING",
  } do
    local addr = source.getenv(variable)
    if addr then
      config[name] = config[name] or {}
      config[name].addr = addr
    end
  end
end

local function apply_flags(config, options)
  if options.debug or options.trace then
    config.log = config.log or {}
    config.log.level = options.trace and "trace" or "debug"
  end
  if options.api and options.api ~= "" then
    config.api = url.endpoint(options.api, { pathPrefix = "string", accesslog = "bool" })
  end
  if options.metrics and options.metrics ~= "" then
    config.metrics = url.endpoint(options.metrics, { path = "string", noClient = "bool" })
  end
end

local function needs_search(config, options)
  return not config.services and not config.api and not (options.api and options.api ~= "")
    and #options.configs == 0
end

--- Put all sources together, without a look at what they mean.
-- @return configuration, list of problems, marks (where each table comes from)
function cli.merge(options)
  local marks, problems = setmetatable({}, { __mode = "k" }), {}
  local reading = {
    marks = marks,
    problems = problems,
    loaders = { lua = options.load_script },
    keep_scripts = options.command == "convert",
  }
  local parts = {}
  for _, text in ipairs(options.configs) do
    parts[#parts + 1] = file.read(text, reading)
  end
  local from_urls, url_problems = url.build(options.services, options.nodes, {
    id = source.getenv("_GOST_ID"), known = is_known, marks = marks,
  })
  parts[#parts + 1] = from_urls
  for _, item in ipairs(url_problems) do
    problems[#problems + 1] = item
  end

  local config = file.merge(parts)
  if #problems == 0 and needs_search(config, options) then
    local found, err = file.search(reading)
    if found then
      config = file.merge { config, found }
    else
      problems[#problems + 1] = { message = tostring(err), severity = "error" }
    end
  end
  file.settle_scripted(config)
  apply_environment(config)
  apply_flags(config, options)
  for _, item in ipairs(problems) do
    problem.bless(item)
  end
  return config, problems, marks
end

--- Check a configuration that did not come from files: what it refers to may be missing.
-- @param scripted as the host has it, or nil
-- @return configuration ready to be applied | nil; and the list of problems, warnings included
function cli.check(config, scripted)
  local problems = validate.check(config, nil, { missing = "warning", scripted = scripted })
  problem.sort(problems)
  if problem.any_error(problems) then
    return nil, problem.errors(problems)
  end
  return normalize.apply(config), problems
end

--- @return whether a configuration asks for nothing: no service, nothing of the admin plane, no script
function cli.serves_nothing(config)
  return not (config.services and config.services[1] or config.scripts and config.scripts[1]
    or config.api or config.metrics or config.profiling)
end

--- Read the whole configuration and check it.
-- @return configuration ready to be applied | nil; and the list of problems, warnings included
function cli.build(options)
  local config, problems, marks = cli.merge(options)
  local incomplete = false
  for _, item in ipairs(problems) do
    incomplete = incomplete or item.of_script
  end
  for _, item in ipairs(validate.check(config, marks, { scripted = options.scripted, incomplete = incomplete })) do
    problems[#problems + 1] = item
  end
  problem.sort(problems)
  if problem.any_error(problems) then
    return nil, problems
  elseif cli.serves_nothing(config) then
    problems[#problems + 1] = problem.bless { message = "there is no service: nothing is served", severity = "warning" }
  end
  return normalize.apply(config), problems
end

--- Print a configuration as -O does.
function cli.render(config, format, marks)
  return writer.write(config, format, marks)
end

-- The program -------------------------------------------------------------------------------------

local ARCHITECTURES = { x64 = "amd64", x86 = "386" }

--- @return the line that -V prints
function cli.version_text(version)
  return ("tidegate %s (%s %s/%s)\n"):format(version or cli.VERSION, jit.version, jit.os:lower(),
    ARCHITECTURES[jit.arch] or jit.arch)
end

local function print_problems(problems, host, errors_only)
  for _, item in ipairs(problems) do
    if not errors_only or item.severity ~= "warning" then
      host.stderr(("tidegate: %s\n"):format(tostring(item)))
    end
  end
end

local function print_config(options, host)
  local config, problems, marks = cli.merge(options)
  if problem.any_error(problems, true) then
    print_problems(problems, host, true)
    return 2
  end
  host.stdout(cli.render(config, options.output, marks))
  return 0
end

local function count(problems)
  local errors = 0
  for _, item in ipairs(problems) do
    errors = errors + (item.severity ~= "warning" and 1 or 0)
  end
  local warnings = #problems - errors
  return ("%d error%s, %d warning%s"):format(errors, errors == 1 and "" or "s", warnings,
    warnings == 1 and "" or "s")
end

local function check(options, host)
  local config, problems = cli.build(options)
  if config and host.try then
    for _, text in ipairs(host.try(config)) do
      problems[#problems + 1] = problem.bless { message = text, severity = "error" }
      config = nil
    end
  end
  print_problems(problems, host)
  if not config then
    host.stderr(("tidegate: %s\n"):format(count(problems)))
    return 2
  end
  host.stdout(#problems == 0 and "the configuration is fine\n"
    or ("the configuration is usable: %s\n"):format(count(problems)))
  return 0
end

-- A Lua file becomes the tables it makes; the scripts that other files name stay a list of names.
local function leave_lua_files(config, options, host)
  local given, kept = {}, {}
  for _, path in ipairs(options.configs) do
    given[path] = true
  end
  for _, path in ipairs(config.scripts or {}) do
    if given[path] then
      host.stderr(("tidegate: warning: hooks and components of %s are not in the result\n"):format(path))
    else
      kept[#kept + 1] = path
    end
  end
  config.scripts = kept[1] and kept
end

local function print_converted(options, host)
  local known = table.concat(convert.FORMATS, " ")
  if not options.to or not (" " .. known .. " "):find(" " .. options.to .. " ", 1, true) then
    host.stderr(("tidegate: convert needs --to and one of %s\n"):format(known:gsub(" ", ", ")))
    return 2
  end
  local config, problems, marks = cli.merge(options)
  print_problems(problems, host)
  if problem.any_error(problems) then
    return 2
  end
  leave_lua_files(config, options, host)
  local text
  text, problems = convert.write(config, options.to, marks)
  if not text then
    print_problems(problems, host)
    return 2
  end
  host.stdout(text)
  return 0
end

local function write_starter(options, host)
  local path = options.rest[1] or starter.PATH
  if path == "-" then
    host.stdout(starter.TEXT)
    return 0
  end
  local ok, err = source.create_file(path, starter.TEXT)
  if not ok then
    host.stderr(("tidegate: %s: %s; nothing was written\n"):format(path, err.message))
    return 1
  end
  host.stdout(("wrote %s; next: tidegate check -C %s\n"):format(path, path))
  return 0
end

local function print_doc(options, host)
  if not options.rest[1] then
    host.stderr(("tidegate: doc needs a name, one of %s\n"):format(table.concat(doc.names(), " ")))
    return 2
  end
  local text, err = doc.text(options.rest[1])
  if not text then
    host.stderr(("tidegate: %s\n"):format(err))
    return 1
  end
  host.stdout(text .. "\n")
  return 0
end

-- Commands that talk to a running process.
local TALKS = { repl = true, eval = true, top = true, upgrade = true }

--- Run the program.  @return exit code, or what host.run() returns
function cli.main(argv, host)
  local workers = flags.split_workers(argv)
  if workers then
    return host.spawn_workers(workers)
  end
  local options, err = cli.parse(argv)
  if not options then
    host.stderr(("tidegate: %s\ntidegate: -h lists all commands and flags\n"):format(tostring(err)))
    return 2
  elseif options.help then
    host.stdout(flags.usage())
    return 0
  elseif options.version then
    host.stdout(cli.version_text(host.version))
    return 0
  end
  options.load_script, options.scripted = host.load_script, host.scripted
  if options.rocks_tree and host.rocks_tree then
    host.rocks_tree(options.rocks_tree)
  end
  if options.dev_lua and host.dev_lua then
    host.dev_lua(options.dev_lua)
  end
  if TALKS[options.command] then
    return host.repl(options)
  elseif options.command == "init" then
    return write_starter(options, host)
  elseif options.command == "convert" then
    return print_converted(options, host)
  elseif options.command == "doc" then
    return print_doc(options, host)
  elseif options.rest[1] then
    host.stderr(("tidegate: warning: %q and what follows is ignored\n"):format(options.rest[1]))
  end

  if options.output and options.output ~= "" then
    return print_config(options, host)
  elseif options.command == "check" then
    return check(options, host)
  end
  local config, problems = cli.build(options)
  print_problems(problems, host)
  if not config then
    return 2
  end
  return host.run(config, options)
end

return cli
