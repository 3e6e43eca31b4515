-- An HTTP handler or connector between in-memory streams.

local component = require "tidegate.component"
local failure = require "tidegate.failure"
local helpers = require "spec.helpers"
local relay = require "tidegate.native.relay"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local M = {}

local silent = setmetatable({}, { __index = function() return function() end end })

--- Make an instance of the handler (or connector) "http".
function M.instance(kind, md, fields)
  local item = assert(component.find(kind, "http"))
  local self = fields or {}
  self.md = component.parse_metadata(item.metadata, md or {})
  self.config = {}
  local made = setmetatable(self, { __index = item })
  assert(made:open())
  return made
end

--- A connection context whose upstreams are ends of in-memory pairs.
-- `options`: users = { name = password }, blocked = { [address] = true }, fail = error of connect()
-- Its `upstreams` are the far ends, in order; `asked` the addresses.
function M.ctx(options)
  options = options or {}
  local ctx = { log = silent, upstreams = {}, asked = {}, relays = {} }

  function ctx:after(seconds)
    return seconds and seconds > 0 and task.now() + seconds * 1000 or nil
  end

  function ctx:needs_auth()
    return options.users ~= nil
  end

  function ctx:authenticate(user, password)
    if options.users[user] == password then
      self.user = user
      return true
    end
    return nil, failure.new("auth", "wrong credentials")
  end

  function ctx:allow(network, address)
    self.network, self.target = network, address
    if options.blocked and options.blocked[address] then
      return nil, failure.new("blocked", "blocked")
    end
    return true
  end

  function ctx:own(thing)
    self[#self + 1] = thing
    return thing
  end

  function ctx:connect(_, address)
    self.asked[#self.asked + 1] = address
    if options.fail then
      return nil, options.fail
    end
    local near, far = stream.pair()
    self.upstreams[#self.upstreams + 1] = far
    if options.serve then
      task.spawn(options.serve, far, #self.upstreams)
    end
    return self:own(near)
  end

  function ctx:relay(a, b, given)
    self.relays[#self.relays + 1] = given or {}
    relay.start(a, b)
    return true
  end

  function ctx:close()
    for _, thing in ipairs(self) do
      thing:close()
    end
  end
  return ctx
end

--- Run a handler on one end of a pair.
-- @return the client's end, a function that waits for the result of handle(), the context
function M.serve(handler, options)
  local client, server = stream.pair()
  local ctx = M.ctx(options)
  local result = helpers.spawn(function()
    local ok, err = handler:handle(ctx, server)
    server:close()
    ctx:close()
    return ok, err
  end)
  local got
  return client, function()
    got = got or { result() }
    return got[1], got[2]
  end, ctx
end

--- Everything that arrives until the end of input.
function M.read_all(s)
  local parts = {}
  while true do
    local bytes = s:read()
    if not bytes then
      return table.concat(parts)
    end
    parts[#parts + 1] = bytes
  end
end

--- Read one head, up to the empty line.
function M.read_head(s)
  return s:read_until("\r\n\r\n", 65536)
end

return M
