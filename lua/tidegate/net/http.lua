-- HTTP/1.1 requests in coroutine style, on connections that are kept for the next one.
--
--   local response, err = http.request { url = "https://host/path", timeout = 5 }
--   if response and response.status == 200 then print(response.headers["content-type"], response.body) end

local addr = require "tidegate.net.addr"
local connection = require "tidegate.net.connection"
local failure = require "tidegate.failure"
local head = require "tidegate.net.http.head"
local http1 = require "tidegate.native.http1"
local message = require "tidegate.net.http.message"
local pool = require "tidegate.net.http.pool"
local signature = require "tidegate.process.signature"
local task = require "tidegate.native.task"
local url_of = require "tidegate.net.http.url"

local M = {}

local TIMEOUT = 30 -- seconds, when nothing is said
local LIMIT = 16 * 1024 * 1024 -- bytes of a body, when nothing is said
local METHOD = "^[%w!#$%%&'*+%-.^_`|~]+$"
local REDIRECTS = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }
local IDEMPOTENT = { GET = true, HEAD = true, OPTIONS = true, TRACE = true, PUT = true, DELETE = true }
local DEAD = { eof = true, reset = true, closed = true }
local CREDENTIALS = { authorization = true, cookie = true, ["proxy-authorization"] = true }

-- Of this VM: the control thread's or a worker's.
local idle = pool.new { idle = 30, per_key = 64, total = 512 }

-- Registries stand for chains of one generation; each gets a number for keys.
local numbers, last_number = setmetatable({}, { __mode = "k" }), 0

local function number_of(registry)
  if not numbers[registry] then
    last_number = last_number + 1
    numbers[registry] = last_number
  end
  return numbers[registry]
end

local headers_mt = {
  __index = function(fields, name)
    return type(name) == "string" and rawget(fields, name:lower()) or nil
  end,
}

local function tls_settings(given)
  if not given then
    return nil
  end
  local settings = {}
  for key, value in pairs(given) do
    settings[key] = value
  end
  settings.secure = given.secure ~= false
  return settings
end

-- How to dial, when it is not directly; and what tells such connections from others.
-- @return function or nil, text | nil, nil, err
local function way_of(request)
  if request.dial then
    return request.dial, nil
  elseif not request.chain or request.chain == "" then
    return nil, ""
  elseif not request.registry then
    return nil, nil, failure.new("unsupported", "chains are there for workers only", { layer = "http" })
  end
  local registry, chain = request.registry, request.chain
  local function dial(url)
    return registry:connect("tcp", addr.join(url.host, url.port), { chain = chain })
  end
  return dial, type(chain) == "string" and ("%s@%d"):format(chain, number_of(registry)) or nil
end

-- One job is one request, all attempts of it included.
local function prepare(request)
  local ok, err = message.check_fields(request.headers or {})
  if not ok then
    return nil, err
  end
  local method = (request.method or "GET"):upper()
  if not method:find(METHOD) or method == "CONNECT" then
    return nil, failure.new("invalid", ("unusable method %q"):format(method), { layer = "http" })
  elseif request.body ~= nil and type(request.body) ~= "string" then
    return nil, failure.new("invalid", "a body must be a string", { layer = "http" })
  elseif request.token and request.token:find("[%z\r\n]") then
    return nil, failure.new("invalid", "unusable token", { layer = "http" })
  end
  local dial, way
  dial, way, err = way_of(request)
  if err then
    return nil, err
  end
  local timeout = request.timeout or TIMEOUT
  return {
    method = method,
    headers = request.headers,
    body = request.body,
    token = request.token,
    tls = tls_settings(request.tls),
    dial = dial,
    way = way,
    limit = request.limit or LIMIT,
    deadline = request.deadline or timeout > 0 and task.now() + timeout * 1000 or nil,
    repeatable = request.repeatable or IDEMPOTENT[method] or false,
  }
end

local function key_of(url, job)
  if not job.way then
    return nil
  end
  local secrets = url.scheme == "https" and job.tls and signature.of(job.tls) or ""
  return table.concat({ url.scheme, url.host, url.port, secrets, job.way }, "\0")
end

-- @return stream, whether it has been used before | nil, err
local function open(url, job, key, fresh)
  local stream = key and not fresh and idle:take(key)
  if stream then
    return stream, true
  end
  return connection.open(url, job, url.scheme == "https")
end

-- The exchange on an open stream.  @return response, whether the stream lives on | nil, err
local function exchange(stream, url, job)
  stream:set_deadline(job.deadline)
  local sent, err = stream:write(message.request(url, job, false))
  if not sent and not DEAD[err.code] then
    return nil, err
  end
  local response, why = message.receive(stream) -- who does not take all of it may have answered
  if not response then
    return nil, sent and why or err
  end
  local framing = head.response_framing(response, job.method)
  local body
  body, err = message.body(stream, framing, job.limit)
  if not body then
    return nil, err
  end
  return {
    status = response.status,
    reason = response.reason,
    headers = setmetatable(http1.map(response), headers_mt),
    body = body,
  }, sent and response.persistent and framing ~= "close"
end

local function attempt(url, job, fresh)
  local key = key_of(url, job)
  local stream, used = open(url, job, key, fresh)
  if not stream then
    return nil, used
  end
  local before = stream:counts()
  local response, lives = exchange(stream, url, job)
  if response and lives and key then
    stream:set_deadline(nil)
    idle:put(key, stream)
    return response
  end
  local silent = stream:counts() == before
  stream:close()
  if response then
    return response
  elseif key and silent and lives.code == "timeout" then
    idle:forget(key) -- nothing may come over the others, too
  end
  return nil, lives, used == true and silent and DEAD[lives.code]
end

local function follow(url, job, response)
  local location = REDIRECTS[response.status] and not job.body and response.headers.location
  local onward = location and url_of.parse(url_of.resolve(url, location))
  if not onward or url.scheme == "https" and onward.scheme == "http" then
    return nil
  end
  if onward.scheme ~= url.scheme or onward.host ~= url.host or onward.port ~= url.port then
    local kept = {} -- credentials are for those they were meant for
    for name, value in pairs(job.headers or {}) do
      if not CREDENTIALS[name:lower()] and name:lower() ~= "host" then
        kept[name] = value
      end
    end
    job.headers, job.token = kept, nil
  end
  return onward
end

local function run(url, job)
  local response, err, again = attempt(url, job, false)
  if not response and again and job.repeatable then
    response, err = attempt(url, job, true)
  end
  if not response then
    return nil, err:during("http " .. job.method, { addr = url.authority })
  end
  return response
end

--- Make a request and receive the whole response.
-- @param request {
--   url, method = "GET", headers = { name = value }, body = string,
--   timeout = seconds for all of it (30; 0: none), or deadline = ms on the loop's clock,
--   token = sent as a bearer token, limit = bytes of the response's body (16 MiB),
--   tls = { secure = false: do not verify, serverName = , caFile = , certFile = , keyFile = },
--   redirects = how many to follow (0), chain = name of a chain, registry = whose (workers),
--   repeatable = may be sent again when a kept connection turns out dead (by default so for methods
--     that are idempotent), dial = function(url, deadline) → stream }
-- @return { status, reason, headers = { name in any case = value }, body } | nil, err
function M.request(request)
  local url, err = url_of.parse(request.url)
  if not url then
    return nil, err
  end
  local job
  job, err = prepare(request)
  if not job then
    return nil, err
  end
  for _ = 0, request.redirects or 0 do
    local response
    response, err = run(url, job)
    if not response then
      return nil, err
    end
    local onward = (request.redirects or 0) > 0 and follow(url, job, response)
    if not onward then
      return response
    end
    url = onward
  end
  return nil, failure.new("protocol", "too many redirects", { layer = "http", addr = request.url })
end

--- Close the connections that wait for another request.
function M.close_idle()
  idle:clear()
end

return M
