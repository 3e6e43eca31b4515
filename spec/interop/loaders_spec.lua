-- A whole tidegate whose users come from a file, a real Redis and a real web server; each of them fails and
-- comes back.

local base64 = require "tidegate.net.http.base64"
local helpers = require "spec.helpers"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local redis = require "tidegate.net.redis"
local server = require "spec.helpers.redis"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local in_task = helpers.task

local function web(port, folder)
  return programs.start("python3", {
    "-m", "http.server", tostring(port), "--bind", "127.0.0.1", "--directory", folder,
  }, { port = port })
end

-- Does the proxy let somebody in?  The target is one where nobody listens.
local function admits(p, user, password)
  local s = assert(stream.dial("127.0.0.1:" .. p:port(1), nil, task.now() + 20000))
  s:set_deadline(task.now() + 10000)
  s:write(("GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: 127.0.0.1:1\r\nProxy-Authorization: Basic %s\r\n\r\n")
    :format(base64.encode(user .. ":" .. password)))
  local status = assert(s:read_until("\r\n", 1000)):match " (%d+) "
  s:close()
  assert.truthy(status == "407" or status == "503", status)
  return status == "503"
end

local function comes_to_admit(p, user, password)
  helpers.eventually(function()
    return admits(p, user, password)
  end, user .. " is not let in\n" .. p:log())
end

local function count(text, words)
  local found, at = 0, 1
  while true do
    local _, stop = text:find(words, at, true)
    if not stop then
      return found
    end
    found, at = found + 1, stop + 1
  end
end

local CONFIG = [[
services:
- name: s
  addr: 127.0.0.1:0
  handler: { type: http, auther: people }
  listener: { type: tcp }
authers:
- name: people
  reload: 1s
  auths: [ { username: inline, password: p } ]
%s]]

local function start(folder, sources)
  return proxy.start({ "-C", programs.file(folder, "config.yaml", CONFIG:format(sources)) }, { services = 1 })
end

describe("loaders", function()
  after_each(in_task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  it("read a file, see it change at once, and keep what they had when it is gone", in_task(function()
    local folder = programs.folder()
    local path = programs.file(folder, "users", "# people\nann  first pass\nopen\n")
    local p = start(folder, ("  file: { path: %s }\n"):format(path):gsub("reload: 1s", ""))
    assert.is_true(admits(p, "ann", "first pass"))
    assert.is_true(admits(p, "inline", "p"))
    assert.is_true(admits(p, "open", "anything"))
    assert.is_false(admits(p, "ann", "wrong"))
    programs.file(folder, "new", "bob b\n")
    os.rename(folder .. "/new", path)
    comes_to_admit(p, "bob", "b")
    assert.is_false(admits(p, "ann", "first pass"))
    os.remove(path)
    p:logged("what was read before stays", true)
    assert.is_true(admits(p, "bob", "b"))
    programs.file(folder, "users", "cleo c\n")
    comes_to_admit(p, "cleo", "c")
    p:logged("the source file works again", true)
    assert.equal(1, count(p:log(), "what was read before stays"))
  end))

  it("read a hash of Redis, and outlive it", in_task(function()
    local one = server.start()
    local c = redis.open { addr = one.addr, db = 2 }
    c:call("HSET", "users", "ann", "a # b")
    local folder = programs.folder()
    local p = start(folder, ("  redis: { addr: '%s', db: 2, key: users }\n"):format(one.addr))
    assert.is_true(admits(p, "ann", "a # b"))
    c:call("HSET", "users", "bob", "b")
    comes_to_admit(p, "bob", "b")
    one.process:stop("sigkill")
    p:logged("what was read before stays", true)
    task.sleep(2.5) -- two more readings, which say nothing
    assert.equal(1, count(p:log(), "what was read before stays"))
    assert.is_true(admits(p, "ann", "a # b"))
    server.start { port = one.port }
    c:call("HSET", "users", "cleo", "c")
    comes_to_admit(p, "cleo", "c")
    assert.is_false(admits(p, "ann", "a # b"))
    p:logged("the source redis works again", true)
    assert.equal(1, count(p:log(), "the source redis works again"))
    c:close()
  end))

  it("read a URL, and outlive its server's silence and errors", in_task(function()
    local folder, port = programs.folder(), programs.free_port()
    programs.file(folder, "users", "ann a\n")
    local one = web(port, folder)
    local p = start(folder, ("  http: { url: 'http://127.0.0.1:%d/users', timeout: 500ms }\n"):format(port))
    assert.is_true(admits(p, "ann", "a"), p:log())
    one:kill "sigstop"
    p:logged("what was read before stays", true)
    assert.is_true(admits(p, "ann", "a"))
    programs.file(folder, "users", "bob b\n")
    one:kill "sigcont"
    comes_to_admit(p, "bob", "b")
    os.remove(folder .. "/users")
    p:logged("status 404", true)
    assert.is_true(admits(p, "bob", "b"))
  end))

  it("let the later source win, and start without those that are not there", in_task(function()
    local one, folder, port = server.start(), programs.folder(), programs.free_port()
    local c = redis.open { addr = one.addr }
    c:call("HSET", "gost", "ann", "redis", "bob", "redis")
    programs.file(folder, "users", "ann file\nbob file\ninline file\ncleo file")
    local sources = "  file: { path: %s/users }\n  redis: { addr: '%s' }\n  http: { url: 'http://127.0.0.1:%d/web' }\n"
    local p = start(folder, sources:format(folder, one.addr, port))
    assert.is_true(admits(p, "cleo", "file"))
    assert.is_true(admits(p, "inline", "file"))
    assert.is_true(admits(p, "bob", "redis"))
    assert.is_true(admits(p, "ann", "redis"))
    p:logged("it has no items until this works", true)
    programs.file(folder, "web", "ann web")
    web(port, folder)
    comes_to_admit(p, "ann", "web")
    assert.is_true(admits(p, "bob", "redis"))
    c:close()
  end))
end)
