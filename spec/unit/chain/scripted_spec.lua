-- What scripts say about nodes: selectors, filters, matchers, hops.

local helpers = require "spec.helpers"
local plane = require "spec.helpers.plane"
local script = require "tidegate.script"

-- Build the services that a script declares.
local function run(text)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write('local tg = require "tidegate"\n' .. text)
  file:close()
  local config = assert(script.evaluate(path))
  local built, problems = plane.build(config)
  os.remove(path)
  assert.same({}, problems)
  return built
end

local function targets(service, times, request)
  local out = {}
  for i = 1, times do
    local node, err = service.forwarder:select(nil, "tcp", "", request)
    out[i] = node and node.name or err and err.code or "-"
  end
  return table.concat(out, " ")
end

local SERVICE = [[
  tg.service { name = "s", handler = "tcp", forwarder = { selector = { %s }, nodes = {
    { name = "a", addr = "192.0.2.1:1", metadata = { weight = 2 } }, { name = "b", addr = "192.0.2.1:2" },
    { name = "c", addr = "192.0.2.1:3" },
  } } }
]]

describe("scripts choose", function()
  after_each(plane.cleanup)

  it("among nodes that they filter", helpers.task(function()
    local built = run([[
      tg.filter("light", function(items)
        local kept = {}
        for _, item in ipairs(items) do
          kept[#kept + 1] = not item.weight and item or nil
        end
        return kept
      end)
    ]] .. SERVICE:format 'filters = { "light" }')
    assert.same("b c b c", targets(built.s, 4))
  end))

  it("no node when their filter raises, or leaves none", helpers.task(function()
    local built = run([[
      tg.filter("broken", function() error "oops" end)
    ]] .. SERVICE:format 'filters = { "broken" }')
    assert.same("blocked", targets(built.s, 1))
  end))

  it("one node by a strategy of theirs; the first when it raises", helpers.task(function()
    local built = run([[
      local count = 0
      tg.selector("last", function(items)
        count = count + 1
        return count < 3 and items[#items] or error "oops"
      end)
    ]] .. SERVICE:format 'strategy = "last"')
    assert.same("c c a", targets(built.s, 3))
  end))

  it("by matchers in rules, which match nothing when they raise", helpers.task(function()
    local built = run [[
      tg.matcher("office", function(request) return request.client_ip:find "^10%." ~= nil end)
      tg.service { name = "s", handler = "tcp", forwarder = { nodes = {
        { name = "in", addr = "192.0.2.1:1", matcher = { rule = "Matcher(`office`)" } },
        { name = "out", addr = "192.0.2.1:2", matcher = { rule = "!Matcher(`office`) && !Matcher(`gone`)" } },
      } } }
    ]]
    assert.same("in", targets(built.s, 1, { client_ip = "10.1.2.3" }))
    assert.same("out", targets(built.s, 1, { client_ip = "192.0.2.1" }))
    assert.same("out", targets(built.s, 1, {})) -- client_ip is nil: the script raises
  end))

  it("the hop's node, and a hop that raises fails the connection", helpers.task(function()
    local built = run [[
      tg.hop("any", function(ctx, network, address)
        if address:find "^bad" then error "oops" end
        return address:find "^direct" == nil and "socks5://192.0.2.1:1080" or nil
      end)
      tg.chain("c", { "any" })
      tg.service { name = "s", handler = "tcp", chain = "c" }
    ]]
    local ctx = built.s:context()
    assert.same("192.0.2.1:1080", built.s.chain:route(ctx, "tcp", "a.example:80")[1].addr)
    assert.same(0, #built.s.chain:route(ctx, "tcp", "direct.example:80"))
    local route, err = built.s.chain:route(ctx, "tcp", "bad.example:80")
    assert.is_nil(route)
    assert.same("blocked", err.code)
  end))

  it("the first when a strategy answers what is no item, and none when a filter does", helpers.task(function()
    local built = run([[
      tg.selector("fish", function() return "fish" end)
    ]] .. SERVICE:format 'strategy = "fish"')
    assert.same("a a", targets(built.s, 2))
    built = run([[
      tg.filter("fish", function() return "fish" end)
    ]] .. SERVICE:format 'filters = { "fish" }')
    assert.same("blocked", targets(built.s, 1))
  end))

  it("by a strategy that replaces one of ours", helpers.task(function()
    local built = run([[
      tg.selector("fifo", function(items) return items[#items] end)
    ]] .. SERVICE:format 'strategy = "fifo"')
    assert.same("c c", targets(built.s, 2))
  end))

  it("around the choice of a hop and of a chain", helpers.task(function()
    local built = run [[
      tg.hop("h", { nodes = { { name = "a", addr = "192.0.2.1:1" } }, metadata = { weight = 1 } })
      tg.hop("other", { { name = "b", addr = "192.0.2.1:2" } })
      tg.wrap("hop", "h", function(next, ctx, network, address)
        if address == "else:1" then
          return "other"
        elseif address == "none:1" then
          return nil, "not for you"
        elseif address == "odd:1" then
          return 12
        end
        return next(ctx, network, address)
      end)
      tg.chain("c", { "h" })
      tg.wrap("chain", "c", function(next, ctx, network, address)
        if address == "direct:1" then
          return "direct"
        end
        return next(ctx, network, address)
      end)
      tg.service { name = "s", handler = "http", chain = "c" }
    ]]
    local chain = built.s.registry.chains.c
    local function way(address)
      local route, err = chain:route(nil, "tcp", address)
      return route and route:text "-" or tostring(err)
    end
    assert.equal("a@192.0.2.1:1 > -", way "x:1")
    assert.equal("b@192.0.2.1:2 > -", way "else:1")
    assert.equal("not for you", way "none:1")
    assert.equal("a node, a URL or the name of a hop is wanted, not a number", way "odd:1")
    assert.equal("-", way "direct:1")
  end))
end)
