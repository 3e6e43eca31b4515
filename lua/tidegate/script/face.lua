-- The functions of `require "tidegate"`, bound to the set that a script fills.  docs/scripting.md is
-- their reference.

local declare = require "tidegate.script.declare"
local lazy = require "tidegate.lazy"
local dns = lazy "tidegate.net.dns"
local failure = require "tidegate.failure"
local http = lazy "tidegate.net.http"
local guard = require "tidegate.script.guard"
local kinds = require "tidegate.policy.kinds"
local log = require "tidegate.process.log"
local redis = lazy "tidegate.net.redis"
local shared = require "tidegate.native.shared"
local resolve = require "tidegate.net.resolve"
local stage = require "tidegate.stage"
local task = require "tidegate.native.task"

local M = {}

--- Raised by sleep() in a task whose script is gone.
M.UNLOADED = setmetatable({}, {
  __tostring = function()
    return "the script was unloaded"
  end,
})

local function check(value, kind, what)
  if type(value) ~= kind then
    error(("%s must be a %s, not %s"):format(what, kind == "table" and "table" or kind, type(value)), 3)
  end
  return value
end

local function fail_on(value, err)
  if not value then
    error(tostring(err), 3)
  end
  return value
end

-- Options of an object that is a function in disguise.
local function add_named(list, object)
  list[#list + 1] = object
  return object.name
end

local function chain_reference(tg, set, value)
  if type(value) ~= "table" then
    return value
  end
  local name = ("%s-chain-%d"):format(set.stem, #set.config.chains)
  return tg.chain(name, value)
end

-- A service as a table, where the handler may be a function.
local function service_of_table(tg, set, spec)
  local fields = {}
  for key, value in pairs(spec) do
    fields[key] = value
  end
  if type(spec.handler) == "function" then
    local name = ("%s-handler-%d"):format(set.stem, #set.components)
    tg.handler(name)(spec.handler)
    fields.handler = name
  end
  fields.chain = chain_reference(tg, set, spec.chain)
  return declare.service(fields, ("%s-%d"):format(set.stem, #set.config.services))
end

local function define_service(tg, set)
  --- service(url [, { name, chain }]) or service(table): declare a service.  @return its object
  function tg.service(spec, fields)
    local config, list = set.config, nil
    if type(spec) == "string" then
      list = fail_on(declare.services_of_url(spec, config, set.stem))
    else
      list = { service_of_table(tg, set, check(spec, "table", "a service")) }
    end
    for _, service in ipairs(list) do
      if fields and fields.chain then
        service.handler.chain = chain_reference(tg, set, fields.chain)
      end
      service.name = fields and #list == 1 and fields.name or service.name
      config.services[#config.services + 1] = service
    end
    return list[1]
  end
end

local function define_chains(tg, set)
  --- chain(name, list of URLs, hops or nodes) or chain(name, function(ctx, network, address)).
  -- @return the name
  function tg.chain(name, spec)
    check(name, "string", "a chain's name")
    if type(spec) == "function" then
      set.chains[name] = spec
      return add_named(set.config.chains, { name = name, hops = {}, scripted = true })
    end
    if type(spec) == "string" then
      spec = { spec }
    end
    local list = check(spec, "table", "a chain").hops or spec
    local hops = fail_on(declare.hops(list, set.config, name))
    return add_named(set.config.chains, { name = name, hops = hops })
  end

  --- hop(name, list of URLs or table) or hop(name, function(ctx, network, address) → node URL).
  function tg.hop(name, spec)
    check(name, "string", "a hop's name")
    if type(spec) == "function" then
      set.hops[name] = spec
      return add_named(set.config.hops, { name = name, nodes = {}, scripted = true })
    end
    check(spec, "table", "a hop")
    local hop = {}
    for key, value in pairs(spec) do
      hop[key] = type(key) == "string" and declare.copy(value) or nil
    end
    hop.name, hop.nodes = name, {}
    for _, part in ipairs(fail_on(declare.hops(spec.nodes or spec, set.config, name))) do
      for _, node in ipairs(part.nodes or {}) do
        if not node.name or node.name:find "^node%-%d+$" then -- not a name that somebody gave
          node.name = ("node-%d"):format(#hop.nodes)
        end
        hop.nodes[#hop.nodes + 1] = node
      end
    end
    return add_named(set.config.hops, hop)
  end
end

local function define_policies(tg, set)
  --- selector(name, function(items, ctx) → item): a strategy for `selector: {strategy: name}`.
  function tg.selector(name, fn)
    set.strategies[check(name, "string", "a selector's name")] = check(fn, "function", "a selector")
    return name
  end

  --- filter(name, function(items, ctx) → items): for `selector: {filters: [name]}`.
  function tg.filter(name, fn)
    set.filters[check(name, "string", "a filter's name")] = check(fn, "function", "a filter")
    return name
  end

  --- matcher(name, function(request) → truth): for rules, as Matcher(`name`).
  function tg.matcher(name, fn)
    set.matchers[check(name, "string", "a matcher's name")] = check(fn, "function", "a matcher")
    return name
  end

  --- wrap(kind, name, function(next, …) [, options]): put a function around an object's main method.
  function tg.wrap(word, name, fn, options)
    local kind = set.WRAPPED[word] or kinds.by_word(word)
    if not kind then
      error(("there is no kind of policy %q"):format(tostring(word)), 2)
    end
    check(name, "string", "a name")
    set:wrap_policy(kind, name, check(fn, "function", "what wrap() puts around it"), options)
  end

  --- on(stage, function(next, ctx, …) [, { on_error = "open" }]): put a hook around a stage.
  function tg.on(name, fn, options)
    if not stage.is_stage(name) then
      error(("there is no stage %q; stages are %s"):format(tostring(name), table.concat(stage.NAMES, ", ")), 2)
    end
    set:on(name, check(fn, "function", "a hook"), options and options.on_error)
  end
end

-- Whether a table holds methods rather than gost's keys.
local function has_functions(spec)
  for _, value in pairs(spec) do
    if type(value) == "function" then
      return true
    end
  end
  return false
end

-- bypass(name, function or methods [, { on_error = … }]) defines an object; bypass(name, table) declares
-- one in gost's schema.  @return the name
local function define_kind(tg, set, kind)
  tg[kind.kind] = function(name, spec, options)
    check(name, "string", ("the name of a %s"):format(kind.kind))
    set.config[kind.list] = set.config[kind.list] or {}
    if type(spec) == "function" or type(spec) == "table" and has_functions(spec) then
      set:policy(kind, name, spec, options)
      return add_named(set.config[kind.list], { name = name, scripted = true })
    end
    check(spec, "table", ("the definition of a %s"):format(kind.kind))
    local object = kind.declare and kind.declare(spec) or declare.copy(spec)
    object.name = name
    return add_named(set.config[kind.list], object)
  end
end

local function define_kinds(tg, set)
  for _, kind in ipairs(kinds.all) do
    define_kind(tg, set, kind)
  end
end

-- What a bare function stands for, by kind of component.
local MAIN = { handler = "handle", connector = "connect", dialer = "dial", listener = "accept" }

local function define_components(tg, set)
  for kind, main in pairs(MAIN) do
    --- handler(name) { fields of a component } or handler(name)(function): declare a component.
    tg[kind] = function(name, item)
      check(name, "string", "a component's name")
      local function declare_it(spec)
        if type(spec) == "function" then
          local fn = spec
          guard.know(fn, ("%s %q, %s"):format(kind, name, main))
          spec = {
            [main] = function(_, ...)
              return fn(...)
            end,
          }
        end
        if type(spec) == "table" and kind == "listener" then
          spec.network = spec.network or "tcp"
        end
        local ok, made = pcall(set.component, set, kind, name, spec)
        if not ok then
          error(tostring(made):gsub("^[^:]+:%d+: ", ""), 2)
        end
        return made
      end
      if item then
        return declare_it(item)
      end
      return declare_it
    end
  end
end

local LOG_LEVELS = { "trace", "debug", "info", "warn", "error" }

local function define_log(tg, set)
  tg.log = {}
  for _, level in ipairs(LOG_LEVELS) do
    tg.log[level] = function(_, message, fields)
      local logger = set.registry and set.registry.log or log.default()
      if logger:enabled(level) then
        logger:with({ "kind", "script", "script", set.stem }):log(level, message, fields)
      end
    end
  end
end

-- Tasks that scripts have begun, and which end with them.  What a connection asks of a script it still
-- gets an answer to, also while the script is replaced.
local own_tasks = setmetatable({}, { __mode = "k" })

local function run_task(set, fn, ...)
  own_tasks[coroutine.running()] = true
  local ok, why = xpcall(fn, function(err)
    local text = err == M.UNLOADED and err or debug.traceback(tostring(err), 2)
    return text
  end, ...)
  if not ok and why ~= M.UNLOADED then
    guard.report(set.registry and set.registry.log or log.default(), "task of " .. set.stem, why)
  end
end

local function resolve_by(set, host, options)
  local deadline = options.timeout and task.now() + options.timeout * 1000 or options.deadline
  if not options.resolver then
    return resolve.lookup(host, deadline)
  end
  local resolver = set.registry and set.registry.resolvers[options.resolver]
  if not resolver then
    return nil, failure.new("config", ("there is no resolver %q"):format(tostring(options.resolver)))
  end
  local ips, err = resolver:resolve(nil, options.network or "ip", host, deadline)
  if ips and #ips == 0 then
    return nil, failure.new("resolve", ("%s has no address"):format(host))
  end
  return ips, err
end

local function define_tasks(tg, set)
  --- spawn(fn, …): run something beside; only in workers, in each of them.
  function tg.spawn(fn, ...)
    check(fn, "function", "what spawn() runs")
    if set.worker then
      task.spawn(run_task, set, fn, ...)
    end
  end

  --- sleep(seconds): let others run.  Ends a task of spawn() or of a timer when its script is gone.
  function tg.sleep(seconds)
    if not task.is_task() then
      error("a script must not wait while it loads; use spawn()", 2)
    end
    task.sleep(seconds)
    if set.dropped and own_tasks[coroutine.running()] then
      error(M.UNLOADED, 0)
    end
  end

  local function timer(seconds, fn, again)
    check(seconds, "number", "a timer's time")
    check(fn, "function", "what a timer calls")
    local handle = { canceled = false, cancel = function(self)
      self.canceled = true
    end }
    tg.spawn(function()
      local safe = guard.new(fn, ("timer of %s"):format(set.stem), nil, tg.log)
      repeat
        tg.sleep(seconds)
        if not handle.canceled then
          safe()
        end
      until not again or handle.canceled
    end)
    return handle
  end

  --- after(seconds, fn): call fn() once, later.  every(seconds, fn): again and again.  An error of fn is
  -- reported and ends neither.  @return timer with cancel()
  function tg.after(seconds, fn)
    return timer(seconds, fn, false)
  end

  function tg.every(seconds, fn)
    return timer(seconds, fn, true)
  end

  --- now() → ms on the loop's clock
  tg.now = task.now

  --- resolve(host [, { resolver = name, network = "ip4" or "ip6", timeout = seconds }]) → list of IP
  -- addresses | nil, err; without a resolver by the system
  function tg.resolve(host, options)
    return resolve_by(set, host, type(options) == "table" and options or { deadline = options })
  end

  --- connect(network, address [, { chain = name, URL or list }]) → stream | nil, err.  The caller
  -- closes the stream.
  function tg.connect(network, address, options)
    if not set.registry then
      return nil, failure.new("config", "nothing can be connected to while scripts load")
    end
    return set.registry:connect(network, address, options)
  end
end

-- Options of a client, with the registry that knows the chains.
local function with_registry(set, options)
  local out = { registry = set.registry }
  for key, value in pairs(options) do
    out[key] = value
  end
  return out
end

local function define_clients(tg, set)
  tg.http = {
    --- http.request { url, method, headers, body, timeout, token, tls, chain, … } → response | nil, err
    request = function(request)
      return http.request(with_registry(set, check(request, "table", "a request")))
    end,
    --- http.get(url [, options]) → response | nil, err
    get = function(url, options)
      local request = with_registry(set, options or {})
      request.url = check(url, "string", "a URL")
      return http.request(request)
    end,
  }

  tg.dns = {
    --- dns.query { server, name, type, timeout, client_ip, hostname, chain, … } → answer | nil, err
    query = function(options)
      return dns.query(with_registry(set, check(options, "table", "a question")))
    end,
    --- dns.addresses(answer) → its IP addresses
    addresses = dns.addresses,
  }

  tg.redis = {
    --- redis.open { addr, db, username, password, tls, timeout, chain, … } → client
    open = function(options)
      return redis.open(with_registry(set, check(options, "table", "what redis.open() takes")))
    end,
  }
end

--- The face of a set.
function M.new(set)
  local tg = {
    --- worker: the number of this worker, 1 …; nil in the control thread
    worker = set.worker,
    --- error(code, message) → an error object, to be returned after nil
    failure = failure.new,
    counter = shared.counter,
    bucket = shared.bucket,
    ticket = shared.ticket,
    dict = shared.dict,
    --- shared.NAME: the dictionary of that name, one for all workers; the same as dict("NAME")
    shared = setmetatable({}, {
      __index = function(_, name)
        return shared.dict(name)
      end,
    }),
  }
  define_service(tg, set)
  define_chains(tg, set)
  define_policies(tg, set)
  define_kinds(tg, set)
  define_components(tg, set)
  define_log(tg, set)
  define_tasks(tg, set)
  define_clients(tg, set)
  return tg
end

return M
