-- spec: timeout=300
-- Every listener with every handler, over every dialer by every connector that makes sense: two whole tidegates,
-- a server and a client, for each transport.  What makes sense says spec/helpers/component_matrix.lua.

local config = require "spec.helpers.matrix_config"
local helpers = require "spec.helpers"
local matrix = require "spec.helpers.component_matrix"
local plain = require "spec.helpers.matrix_plain"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local world = require "spec.helpers.matrix_world"

local NOBODY = "127.0.0.1:1"

-- What a process is started with, and the chains that listen through itself.
local function server_config(transport, protocols, target)
  local services, chains = {}, nil
  if transport.far then
    local base, chain = config.base()
    services[1], chains = base, { chain }
  end
  for _, one in ipairs(protocols) do
    services[#services + 1] = config.server(one.name, transport, one, target, "base")
  end
  return { services = services, chains = chains }
end

-- A client with a service for each of `ways`: { name, network, target, node }.
local function client_config(ways)
  local services, chains = {}, {}
  for i, way in ipairs(ways) do
    chains[i] = config.chain(way.name, { way.node })
    services[i] = config.client(way.name, way.network, way.target, way.name)
  end
  return { services = services, chains = chains }
end

local function refused(address)
  world.refused(world.dial(address))
end

-- What is to be done with each protocol of a transport, and the ways that the client needs for it.
local work = {}
work.__index = work

local function work_for(transport, at, target)
  return setmetatable({ transport = transport, at = at, target = target, ways = {}, jobs = {} }, work)
end

-- A job over a way of the client: fn(address of its beginning).
-- @param what { network, target, wrong, connector }
function work:add(one, what, fn)
  local label = what.label or what.wrong and "wrong-" .. what.wrong or what.network
  local name = ("%s-%s"):format(one.name, label)
  local node = config.node(one.name, self.at[one.name], self.transport, one, what.wrong)
  node.connector = what.connector or node.connector
  self.ways[#self.ways + 1] = { name = name, network = what.network, target = what.target, node = node }
  self.jobs[#self.jobs + 1] = { self.transport.name .. " " .. name, function()
    fn(self.doors[name])
  end, { name, one.name } }
end

-- By its connector.
function work:whole(one)
  local target, can = self.target, { speaks_first = one.speaks_first, half_close = self.transport.half_close }
  if one.serves then
    self:add(one, { network = "tcp", target = target.tcp }, function(address)
      world.page(world.dial(address), one.serves)
    end)
  elseif one.bytes and not self.transport.datagrams then
    self:add(one, { network = "tcp", target = target.tcp }, function(address)
      world.exchange(world.dial(address), target.tcp, can)
      world.leave(function()
        return world.dial(address)
      end, target.tcp, one.sniffs and one.speaks_first)
    end)
  end
  if one.packets or self.transport.datagrams then
    self:add(one, { network = "udp", target = target.udp }, world.datagrams)
  end
end

-- Through a handler that looks into it.
function work:web(one)
  local target = self.target
  self:add(one, { network = "tcp", target = target.web, label = "web" }, function(address)
    world.web(world.dial(address), target.web)
  end)
  if one.handler ~= "sni" then -- which goes to port 443
    self:add(one, { network = "tcp", target = target.secure_web, label = "secure-web" }, function(address)
      world.web(world.dial(address), target.secure_web, "tls")
    end)
  end
end

local ABOUT_PASSWORDS = { "password", "credentials", "unauthorized", "user id", "407" }

-- A job with another password: refused, and both ends say why.
function work:wrong(one, which)
  self:add(one, { network = "tcp", target = self.target.tcp, wrong = which }, function(address)
    refused(address)
    for i, name in ipairs { one.name, ("%s-wrong-%s"):format(one.name, which) } do
      local said
      helpers.eventually(function()
        local text = world.complaints({ self.processes[i] }, { [name] = true })
        for _, word in ipairs(ABOUT_PASSWORDS) do
          said = said or text:find(word, 1, true)
        end
        return said or i == 2 and one.handler == "ss" -- whose client is not told
      end, name .. " says nothing of passwords")
    end
  end)
end

-- What is refused is told from what works: a password, a target.
function work:refusals(protocols)
  if self.transport.auth then
    self:wrong(protocols[1], "dialer")
  end
  for _, one in ipairs(self.transport.name == "tcp" and protocols or {}) do
    if one.secret and one.bytes then
      self:wrong(one, "connector")
    end
    if one.bytes and not one.serves and not one.forwards then
      self:add(one, { network = "tcp", target = NOBODY, label = "nobody" }, refused)
    end
  end
end

-- By a plain client: over the bare listener, or over what the dialer alone makes of the transport.
function work:plain(one)
  local open, target, transport = plain.open[one.handler], self.target, self.transport
  local function talk(s)
    local up = open(s, target.tcp, one.secret)
    if one.serves then
      world.page(up, one.serves)
    else
      world.exchange(up, target.tcp, { speaks_first = one.handler ~= "sni", half_close = transport.half_close })
    end
  end
  if transport.bare then
    self.jobs[#self.jobs + 1] = { ("%s %s-plain"):format(transport.name, one.name), function()
      talk(world.dial(self.at[one.name], transport.bare))
    end, { one.name } }
  else
    self:add(one, { network = "tcp", target = "127.0.0.1:1", label = "plain", connector = { type = "tcp" } },
      function(address)
        talk(world.dial(address))
      end)
  end
end

-- By a client of HTTP/2.
function work:browse(one)
  self.jobs[#self.jobs + 1] = { ("%s %s-browse"):format(self.transport.name, one.name), function()
    assert.equal("2 200", programs.output("curl", {
      "-sSk", "--noproxy", "*", "--http2", "-o", "/dev/null", "-w", "%{http_version} %{http_code}",
      ("https://%s%s"):format(self.at[one.name], one.serves),
    }))
  end, { one.name } }
end

function work:all(protocols)
  local seen = {}
  for _, one in ipairs(protocols) do
    self:whole(one)
    if one.sniffs then
      self:web(one)
    end
    if one.serves and self.transport.listener == "http2" then
      self:browse(one)
    end
    if self.transport.datagrams and one.forwards and not seen[one.handler] then
      seen[one.handler] = true
      self.jobs[#self.jobs + 1] = { ("%s %s-plain"):format(self.transport.name, one.name), function()
        world.datagrams(self.at[one.name])
      end, { one.name } }
    elseif not seen[one.handler] and plain.open[one.handler] and not matrix.doors[self.transport.dialer] then
      seen[one.handler] = true
      self:plain(one)
    end
  end
  self:refusals(protocols)
end

describe("components", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  it("are all in the matrix", function()
    assert.same({}, matrix.left_out())
  end)

  it("have a plain client", function()
    for _, one in ipairs(matrix.protocols()) do
      assert.is_not_nil(plain.open[one.handler], one.handler)
    end
  end)

  it("are refused where they cannot work", world.with(function(target)
    config.begin()
    local services, chains, wanted = {}, {}, {}
    for _, transport in ipairs(matrix.transports()) do
      local _, bad = matrix.over(transport, matrix.protocols())
      for _, one in ipairs(bad) do
        local name = transport.name .. "/" .. one.protocol.name
        wanted[#wanted + 1] = one.refused and name or nil
        if one.refused == "server" then
          services[#services + 1] = config.server(name, transport, one.protocol, target, nil)
        elseif one.refused == "client" then
          chains[#chains + 1] = config.chain(name, { config.node(name, "127.0.0.1:1", transport, one.protocol) })
          services[#services + 1] = config.client(name, "tcp", target.tcp, name)
        end
      end
    end
    local path = world.write { services = services, chains = chains }
    for _, run in ipairs { proxy.run { "check", "-C", path }, proxy.run { "-C", path } } do
      assert.equal(2, run.code)
      for _, name in ipairs(wanted) do
        assert.is_truthy((run.stdout .. run.stderr):find(name, 1, true), name .. " is not refused")
      end
    end
  end))

  local function try(transport, protocols)
    it(("work over %s: %d protocols"):format(transport.name, #protocols), world.with(function(target)
      config.begin()
      local far, at = world.start(server_config(transport, protocols, target))
      local todo, near = work_for(transport, at, target), nil
      todo:all(protocols)
      near, todo.doors = world.start(client_config(todo.ways))
      todo.processes = { far, near }
      world.all(todo.jobs, todo.processes)
    end))
  end

  for _, transport in ipairs(matrix.transports()) do
    local all = transport.name == "tcp"
    local protocols = matrix.over(transport, matrix.protocols(all))
    for _, one in ipairs(all and matrix.varied_protocols() or {}) do
      protocols[#protocols + 1] = one
    end
    for _, one in ipairs((matrix.over(transport, matrix.sniffing_protocols()))) do
      protocols[#protocols + 1] = one
    end
    try(transport, protocols)
  end

  for _, transport in ipairs(matrix.varied_transports()) do
    try(transport, matrix.chosen { "forward", "relay", "socks5", "ss" })
  end
end)
