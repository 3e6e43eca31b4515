-- Policies that somebody else decides: gost's plugins, asked over HTTP or gRPC.
--
-- Each kind of policy has a file plugin/<kind>.lua: function(config, client, env) → object with the methods
-- of its kind.  It asks by `client:call(question, values)`, where a question is
--   path     of the gRPC method, "/proto.Admission/Admit"
--   verb     of HTTP: POST, PUT and DELETE carry JSON, GET a query
--   request, reply   tables of fields, see tidegate.net.protobuf and tidegate.policy.plugin.json
--   flat     the field of the request which is all of it in JSON
--   text     the field of the reply which is the whole body in HTTP
-- What a failure means is the object's to say.  That a plugin fails, and that it works again, is logged once
-- for all workers.

local failure = require "tidegate.failure"
local grpc = require "tidegate.net.grpc"
local lazy = require "tidegate.lazy"
local http = lazy "tidegate.net.http"
local json = require "tidegate.policy.plugin.json"
local log = require "tidegate.process.log"
local protobuf = require "tidegate.net.protobuf"
local shared = require "tidegate.native.shared"
local task = require "tidegate.native.task"

local M = {}

local TIMEOUT = 30 -- seconds of a call, when the configuration sets no limit
local LIMIT = 16 * 1024 * 1024 -- bytes of an answer
local LONGEST_PAUSE = 2 -- seconds between attempts to connect
local QUIET = 2 -- seconds without a failure, after which it works again
local BODIED = { POST = true, PUT = true, DELETE = true }

local methods = {}
local mt = { __name = "tidegate.plugin", __index = methods }

local function tls_of(config)
  if config.tls then
    return { secure = config.tls.secure or false, serverName = config.tls.serverName }
  end
end

-- HTTP --------------------------------------------------------------------------------------------

local function over_http(self, question, values, deadline)
  local url, body = self.url, nil
  if BODIED[question.verb] then
    local fields = question.request
    if question.flat then
      fields, values = fields[1].of, values[question.flat]
    end
    body = json.encode(fields, values)
  else
    local query = json.query(question.request, values)
    url = url .. (url:find("?", 1, true) and "&" or "?") .. query
  end
  local response, err = http.request {
    url = url,
    method = question.verb,
    headers = { ["Content-Type"] = "application/json" },
    body = body,
    token = self.token,
    tls = self.tls,
    deadline = deadline,
    limit = LIMIT,
    repeatable = true,
  }
  if not response then
    return nil, err
  elseif response.status ~= 200 then
    return nil, failure.new("protocol", ("status %d"):format(response.status), { status = response.status })
  elseif question.text then
    return { [question.text] = response.body }
  end
  return json.decode(question.reply, response.body)
end

local function open_http(self, config)
  self.url = config.addr:find "^%a[%w+.-]*://" and config.addr or "http://" .. config.addr
  self.ask = over_http
  return self
end

-- gRPC --------------------------------------------------------------------------------------------

local function over_grpc(self, question, values, deadline)
  local bytes = protobuf.encode(question.request, values)
  local answer, err = self.channel:unary(question.path, bytes, self.metadata, deadline)
  if not answer then
    return nil, err
  end
  return protobuf.decode(question.reply, answer)
end

local function open_grpc(self, config)
  local addr = config.addr:gsub("^dns:///", ""):gsub("^passthrough:///", ""):gsub("^unix://(/.*)", "unix:%1")
  local name = self.tls and self.tls.serverName
  local err
  self.channel, err = grpc.open {
    addr = addr,
    tls = self.tls,
    authority = name and name ~= "" and name or nil,
    max_message = LIMIT,
    longest_pause = LONGEST_PAUSE,
  }
  if not self.channel then
    return nil, err
  end
  self.metadata = self.token and { token = self.token } or nil
  self.ask = over_grpc
  return self
end

-- Both --------------------------------------------------------------------------------------------

--- A client of a plugin.
-- @param config { type, addr, tls, timeout, token }
-- @param what it is, for messages and as its name among all workers: 'bypass "work"'
-- @return client | nil, err
function M.client(config, what, logger)
  if not config.addr or config.addr == "" then
    return nil, failure.new("config", "a plugin needs an address")
  end
  local self = setmetatable({
    addr = config.addr,
    what = what,
    token = config.token and config.token ~= "" and config.token or nil,
    tls = tls_of(config),
    timeout = (config.timeout or 0) > 0 and config.timeout or TIMEOUT,
    states = shared.dict "plugin/failing",
    key = what .. " " .. config.addr,
    log = logger,
  }, mt)
  if (config.type or ""):lower() == "http" then
    return open_http(self, config)
  end
  return open_grpc(self, config)
end

local function say(self, level, text)
  local logger = self.log or log.default()
  logger:log(level, ("%s: plugin %s %s"):format(self.what, self.addr, text))
end

-- It works again when it has not failed for a moment: what fails now and then is told of once.
local function note(self, err)
  local states, key = self.states, self.key
  if err then
    if not states:get(key) and states:incr(key, 1) == 1 then
      say(self, "warn", "fails: " .. tostring(err))
    end
    states:set("at " .. key, true, QUIET)
  elseif states:get(key) and not states:get("at " .. key) and states:delete(key) then
    say(self, "info", "works again")
  end
end

--- Ask.
-- @param deadline nil or ms on the loop's clock; the plugin's own timeout holds as well
-- @return name → value of the reply | nil, err (err.status: of HTTP, when it was not 200)
function methods:call(question, values, deadline)
  local own = task.now() + self.timeout * 1000
  local reply, err = self:ask(question, values, deadline and math.min(deadline, own) or own)
  note(self, err)
  return reply, err
end

--- Close the connections that are its own.
function methods:close()
  if self.channel then
    self.channel:close()
  end
end

local function close(object)
  object.client:close()
end

--- Make the object of a kind of policy (or a hop) whose configuration names a plugin.
-- @param kind "auther", …
-- @param config the object's configuration, with `plugin`
-- @param env { name, log }
-- @return object | nil, err
function M.object(kind, config, env)
  local ok, make = pcall(require, "tidegate.policy.plugin." .. kind)
  if not ok then
    return nil, failure.new("unsupported", ("plugins for %s do not exist"):format(kind))
  end
  local client, err = M.client(config.plugin, ("%s %q"):format(kind, config.name or ""), env.log)
  if not client then
    return nil, err
  end
  local object = make(config, client, env)
  object.name, object.client = config.name, client
  object.close = object.close or close
  return object
end

return M
