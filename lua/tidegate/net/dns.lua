-- Questions to name servers, in coroutine style.
--
--   local answer, err = dns.query { server = "tls://9.9.9.9", name = "example.com", type = "AAAA" }
--   for _, record in ipairs(answer.answers) do print(record.name, record.ttl, record.data) end
--
-- An answer is what tidegate.native.dns.parse() makes of a message.

local addr = require "tidegate.net.addr"
local address = require "tidegate.net.dns.address"
local failure = require "tidegate.failure"
local https = require "tidegate.net.dns.https"
local native = require "tidegate.native.dns"
local pool = require "tidegate.net.http.pool"
local task = require "tidegate.native.task"
local transport = require "tidegate.net.dns.transport"

local TIMEOUT = 5 -- seconds for one question, everything included
local IDLE = 30 -- seconds a TLS connection waits for another question
local IDLE_MAX = 16 -- connections kept for each server
local SERVERS_MAX = 64 -- kept for query()

local M = {}
local methods = {}
local mt = { __name = "tidegate.dns.server", __index = methods }

local function text(value)
  return value ~= nil and value ~= "" and value or nil
end

-- HTTPS is always verified, TLS when it was said whom to expect there.
local function prepare_tls(self, options)
  local is_https = self.at.transport == "https"
  local hostname = text(options.hostname)
  self.tls = { serverName = hostname }
  for key, value in pairs(options.tls or {}) do
    self.tls[key] = value
  end
  if self.tls.secure == nil then
    self.tls.secure = is_https or hostname ~= nil
  end
  if is_https then
    https.prepare(self)
  else
    self.pool = pool.new { idle = IDLE, per_key = IDLE_MAX }
  end
end

--- Prepare to ask a name server; nothing is sent yet.
-- @param options { addr, timeout = seconds (5), chain = way to it, registry = where chains are found,
--   hostname = whose certificate a TLS server must show, tls = settings as of a dialer }
-- @return server | nil, err
function M.open(options)
  local at, err = address.parse(options.addr)
  if not at then
    return nil, err
  elseif at.transport == address.SYSTEM then
    return nil, failure.new("config", "the system's resolver is not a server")
  end
  local self = setmetatable({
    at = at,
    name = at.text,
    chain = text(options.chain),
    registry = options.registry,
    timeout = options.timeout and options.timeout > 0 and options.timeout or TIMEOUT,
    ask = transport[at.transport],
  }, mt)
  if self.chain then
    self.dial = transport.dialer(self)
  end
  if at.transport == "tls" or at.transport == "https" then
    prepare_tls(self, options)
  end
  return self
end

local function same_question(a, b)
  return a.type == b.type and a.class == b.class and a.name:lower() == b.name:lower()
end

-- An error may come without the question it is about.
local function answers(answer, question)
  if #answer.questions == 0 then
    return answer.rcode ~= "NOERROR"
  end
  return #answer.questions == 1 and same_question(answer.questions[1], question)
end

local function protocol(message)
  return failure.new("protocol", message, { layer = "dns" })
end

-- A truncated answer that ends in the middle of a record is still a reason to ask by TCP.
local function only_head(bytes, query)
  if #bytes >= 12 and bytes:byte(3) >= 128 and math.floor(bytes:byte(3) / 2) % 2 == 1 then
    local bare = native.parse(bytes:sub(1, 4) .. "\0\0\0\0\0\0\0\0")
    if bare then
      bare.questions = query.questions
      return bare
    end
  end
end

-- What makes an answer of bytes, or says why they are none.
local function acceptor(bytes)
  local query, id = assert(native.parse(bytes)), bytes:sub(1, 2)
  return function(reply)
    if reply:sub(1, 2) ~= id then
      return nil, protocol "the answer has another id", false
    end
    local answer, err = native.parse(reply)
    if not answer then
      answer = only_head(reply, query)
      if not answer then
        return nil, err, true
      end
    elseif not answer.response or not answers(answer, query.questions[1]) then
      return nil, protocol "the answer is for another question", false
    end
    answer.bytes = reply
    return answer
  end
end

--- Send a query and wait for its answer.
-- @param bytes of a query with one question
-- @param deadline ms on the loop's clock, beside the server's own timeout
-- @return answer, its message in the field `bytes` | nil, err
function methods:exchange(bytes, deadline)
  local limit = task.now() + self.timeout * 1000
  if deadline and deadline < limit then
    limit = deadline
  end
  local answer, err = self:ask(bytes, acceptor(bytes), limit)
  if not answer then
    if err.code == "timeout" then
      err = failure.new("timeout", "no answer in time")
    end
    return nil, err:during("dns", { addr = self.name })
  end
  return answer
end

--- Ask for one name.
-- @param question { name, type = "A", class, subnet = bytes of an IP, edns, cd } as for the native query()
-- @return answer | nil, err; also a refusal (rcode) is an answer
function methods:query(question, deadline)
  local bytes, err = native.query(question)
  if not bytes then
    return nil, err
  end
  return self:exchange(bytes, deadline)
end

--- Close the connections that are kept.
function methods:close()
  if self.pool then
    self.pool:close()
  elseif self.sessions then
    https.close(self)
  end
end

local kept, kept_count = {}, 0

-- Servers of query() are kept for their connections, unless there is more to them than an address.
local function server_of(options)
  local plain = not options.chain and not options.tls
  local key = plain and ("%s %s %s"):format(options.server, options.hostname or "", options.timeout or "")
  if key and kept[key] then
    return kept[key]
  end
  local server, err = M.open {
    addr = options.server, timeout = options.timeout, hostname = options.hostname, tls = options.tls,
    chain = options.chain, registry = options.chain and options.registry or nil,
  }
  if server and key then
    if kept_count >= SERVERS_MAX then
      M.forget()
    end
    kept[key], kept_count = server, kept_count + 1
  end
  return server, err, not key
end

--- Ask a name server.
-- @param options { server = address, name, type = "A", timeout = seconds (5), client_ip = EDNS client subnet,
--   hostname, tls, chain, registry as for open(), deadline = ms }
-- @return answer | nil, err; also a refusal (rcode) is an answer
function M.query(options)
  local server, err, once = server_of(options)
  if not server then
    return nil, err
  end
  local answer
  answer, err = server:query({
    name = options.name,
    type = options.type,
    class = options.class,
    subnet = options.client_ip and addr.bytes(options.client_ip) or nil,
  }, options.deadline)
  if once then
    server:close()
  end
  return answer, err
end

--- Close the connections that query() keeps.
function M.forget()
  for _, server in pairs(kept) do
    server:close()
  end
  kept, kept_count = {}, 0
end

--- @return the IP addresses of an answer, in its order
function M.addresses(answer)
  local ips = {}
  for i = 1, #answer.answers do
    local record = answer.answers[i]
    if record.type == "A" or record.type == "AAAA" then
      ips[#ips + 1] = record.data
    end
  end
  return ips
end

--- How long an answer may be kept: its shortest time to live.
-- @return seconds, or nil when it holds no records
function M.ttl(answer)
  local least
  for i = 1, #answer.answers do
    local ttl = answer.answers[i].ttl
    least = least and math.min(least, ttl) or ttl
  end
  return least
end

--- How long a negative answer may be kept (RFC 2308): what the zone's SOA record says.
-- @return seconds, or nil when there is no SOA record
function M.negative_ttl(answer)
  for i = 1, #answer.authority do
    local record = answer.authority[i]
    if record.type == "SOA" then
      return math.min(record.ttl, tonumber(record.data:match "(%d+)%s*$") or 0)
    end
  end
end

--- The answer to a query, for servers.
-- @param query parsed; @param fields rcode, answers, authority, additional, aa, limit = bytes
-- @return bytes | nil, err
function M.reply(query, fields)
  return native.build {
    id = query.id,
    opcode = query.opcode,
    response = true,
    rd = query.rd,
    ra = true,
    cd = query.cd,
    aa = fields.aa,
    rcode = fields.rcode,
    questions = query.questions,
    answers = fields.answers,
    authority = fields.authority,
    additional = fields.additional,
    edns = query.edns and { udp_size = 1232, dnssec_ok = query.edns.dnssec_ok },
    limit = fields.limit,
  }
end

return M
