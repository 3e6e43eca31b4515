-- Changing every kind of object while traffic flows; and whether what was saved starts into the same state.

local api = require "spec.helpers.api"
local cjson = require "cjson"
local plane = require "spec.helpers.plane"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local KINDS = {
  { "hops", { nodes = { { name = "n", addr = "127.0.0.1:1" } } } },
  { "chains", { hops = { { name = "h", nodes = { { name = "n", addr = "127.0.0.1:1" } } } } } },
  { "authers", { auths = { { username = "u", password = "p" } }, reload = 5e9 } },
  { "admissions", { matchers = { "127.0.0.0/8" }, whitelist = true } },
  { "bypasses", { matchers = { "*.example.com" } } },
  { "resolvers", { nameservers = { { addr = "127.0.0.1:1" } } } },
  { "hosts", { mappings = { { ip = "192.0.2.1", hostname = "a.test" } } } },
  { "ingresses", { rules = { { hostname = "a.test", endpoint = "e" } } } },
  { "routers", { routes = { { dst = "192.0.2.0/24", gateway = "g" } } } },
  { "observers", { plugin = { type = "http", addr = "http://127.0.0.1:1/" } } },
  { "recorders", { http = { url = "http://127.0.0.1:1/" } } },
  { "sds", { plugin = { type = "http", addr = "http://127.0.0.1:1/" } } },
  { "limiters", { limits = { "$ 1GB" } } },
  { "climiters", { limits = { "$ 100000" } } },
  { "rlimiters", { limits = { "$ 100000" } } },
  { "quotas", { limit = "1TB", store = { type = "file", file = "quota.json" } } },
  { "caches", { memory = { maxSize = 100 } } },
  { "services", {
    handler = { type = "http", auther = "x", chain = "x", metadata = { knock = "a.test" } }, admission = "x",
    bypass = "x", resolver = "x", hosts = "x", limiter = "x", climiter = "x", rlimiter = "x", quotas = { "x" },
    listener = { type = "tcp" }, metadata = { enableStats = true },
  } },
}

local function start()
  local folder, port, front = programs.folder(), programs.free_port(), programs.free_port()
  local path = programs.file(folder, "gate.yml", ([[
log: {level: warn}
services:
- {name: front, addr: "127.0.0.1:%d", handler: {type: http}}
api: {addr: "127.0.0.1:%d"}
]]):format(front, port))
  local p = proxy.start({ "-C", path }, { services = 0, cwd = folder })
  programs.wait_port(port)
  programs.wait_port(front)
  return p, api.new("http://127.0.0.1:" .. port), front, path, folder
end

-- One tunnel, one line there and back.  @return true | nil, why
local function round(front, target)
  local s, err = stream.dial("127.0.0.1:" .. front, nil, task.now() + 20000)
  if not s then
    return nil, tostring(err)
  end
  s:set_deadline(task.now() + 10000)
  s:write(("CONNECT %s HTTP/1.1\r\n\r\n"):format(target))
  local head = s:read_until("\r\n\r\n", 4096)
  local ok = head and head:find " 200 " and s:write "ping\n" and s:read_until("\n", 100) == "ping\n"
  s:close()
  return ok, head
end

describe("the Web API", function()
  after_each(function()
    proxy.stop_all()
    programs.stop_all()
  end)

  it("changes every kind of object while traffic flows", function()
    local p, a, front = start()
    local target = plane.accept(function(s)
      s:write(s:read_until("\n", 100) or "")
      s:close()
    end)
    local over, rounds, failed, running = false, 0, {}, 4
    local long = assert(stream.dial("127.0.0.1:" .. front, nil, task.now() + 20000))
    long:write(("CONNECT %s HTTP/1.1\r\n\r\n"):format(target))
    long:read_until("\r\n\r\n", 4096)
    for _ = 1, running do
      task.spawn(function()
        while not over do
          local ok, why = round(front, target)
          rounds = rounds + 1
          failed[#failed + 1] = not ok and tostring(why) or nil
        end
        running = running - 1
      end)
    end
    for _, kind in ipairs(KINDS) do
      local path, object = "/config/" .. kind[1], kind[2]
      object.name = "x"
      object.addr = kind[1] == "services" and "127.0.0.1:" .. programs.free_port() or nil
      local one = path .. "/x"
      for _, step in ipairs { { "POST", path }, { "PUT", one }, { "DELETE", one }, { "POST", path } } do
        local status, answer = a:json(step[1], step[2], step[1] ~= "DELETE" and object or nil)
        assert.equal(200, status, step[1] .. " " .. step[2] .. ": " .. tostring(answer.msg))
      end
    end
    over = true
    while running > 0 do
      task.sleep(0.01)
    end
    assert.same({}, failed)
    assert.is_true(rounds > 50)
    assert(long:write "still\n")
    assert.equal("still\n", long:read_until("\n", 100))
    assert.is_nil(p:log():find "raised")
  end)

  it("saves what starts into the same state", function()
    local _, a, _, path, folder = start()
    for _, kind in ipairs(KINDS) do
      local object = kind[2]
      object.name = "x"
      object.addr = kind[1] == "services" and "127.0.0.1:" .. programs.free_port() or nil
      local status, answer = a:json("POST", "/config/" .. kind[1], object)
      assert.equal(200, status, answer.msg)
    end
    local function state()
      local config = select(2, a:json("GET", "/config"))
      for _, list in pairs { config.services, config.quotas } do
        for _, item in ipairs(list) do
          item.status = nil
        end
      end
      return config
    end
    local before = state()
    for _, format in ipairs { "yaml", "json" } do
      local saved = path:gsub("%.yml$", "." .. format)
      assert.equal(200, (a:ask("POST", "/config?path=" .. saved)))
      proxy.stop_all()
      proxy.start({ "-C", saved }, { services = 0, cwd = folder })
      programs.wait_port(tonumber(a.base:match "%d+$"))
      assert.same(before, state())
      path = saved:gsub("%.%w+$", ".yml")
    end
    assert.is_string(cjson.encode(before))
  end)
end)
