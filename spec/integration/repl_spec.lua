-- The REPL of a whole tidegate, by `tidegate eval` and `tidegate repl`.

local cjson = require "cjson"
local luv = require "luv"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local socket, p

local function eval(text, ...)
  local args = { "eval", "--socket", socket, ... }
  args[#args + 1] = text
  return programs.run(proxy.executable, args)
end

local function repl(lines, ...)
  local script = os.tmpname()
  local file = assert(io.open(script, "w"))
  file:write(table.concat(lines, "\n"), "\n")
  file:close()
  local result = programs.run("sh", { "-c", ('"$0" repl --socket "$1" < "$2"'), proxy.executable, socket, script, ... })
  os.remove(script)
  return result
end

describe("the REPL", function()
  setup(function()
    socket = programs.folder() .. "/repl.sock"
    p = proxy.start { "-L", "http://127.0.0.1:0", "--workers", "2", "--repl", socket }
  end)

  teardown(function()
    proxy.stop_all()
  end)

  it("has a socket for its user alone", function()
    assert.equal(tonumber("600", 8), luv.fs_stat(socket).mode % 512)
  end)

  it("evaluates in the control thread and in workers", function()
    assert.equal("3\n", eval("1 + 2").stdout)
    assert.equal("worker 1: 1\nworker 2: 2\n", eval("tg.worker", "--worker", "all").stdout)
    assert.equal('"http"\n', eval("services['service-0'].handler.name", "--worker", "2").stdout)
  end)

  it("says what is wrong, and exits with 1", function()
    local result = eval "nothing.field"
    assert.equal(1, result.code)
    assert.equal("attempt to index global 'nothing' (a nil value)\n", result.stderr)
    assert.matches("they are 1 to 2, all, and control", eval("1", "--worker", "7").stderr, 1, true)
  end)

  it("stops what runs away, and serves on", function()
    assert.equal("stopped after 1000 ms\n", eval("while true do end").stderr)
    assert.equal("stopped after 20 ms\n", eval("while true do end", "--worker", "1").stderr)
    assert.equal("2\n", eval("1 + 1", "--worker", "1").stdout)
  end)

  it("waits when asked to", function()
    assert.equal("true\n", eval(":wait tg.sleep(0.01) == nil", "--worker", "1").stdout)
    assert.matches("use :wait EXPRESSION", eval("tg.sleep(1)", "--worker", "1").stderr, 1, true)
  end)

  it("takes lines that belong together, keeps names, and runs commands", function()
    local result = repl { "x = 20", "function f()", "return x * 2", "end", "f()", "print('a', 1)",
      ":services", ":doc tls", ":servces" }
    assert.matches("^40\na\t1\nNAME +ADDRESS", result.stdout)
    assert.matches("service%-0  127%.0%.0%.1:" .. p:port(1), result.stdout)
    assert.matches("listener tls: TLS over TCP", result.stdout, 1, true)
    assert.matches("did you mean :services?", result.stdout, 1, true)
    assert.equal(1, result.code)
  end)

  it("says what components and objects take, with a process or without", function()
    for _, name in ipairs { "socks5", "chain", "services", "tls" } do
      local result = proxy.run { "doc", name }
      assert.equal(0, result.code, name)
      assert.equal(result.stdout, eval(":doc " .. name).stdout)
    end
    assert.matches("object service of the configuration\n  name +string", proxy.run({ "doc", "services" }).stdout)
    assert.matches("handler socks5: .*\n\nconnector socks5: ", proxy.run({ "doc", "socks5" }).stdout)
    local result = proxy.run { "doc", "socks6" }
    assert.equal(1, result.code)
    assert.matches("did you mean", result.stderr)
  end)

  it("changes the level of the log", function()
    assert.equal("lines below debug are left out\n", eval(":log debug").stdout)
    programs.run("curl", { "-s", "-m", "20", "-o", "/dev/null", "-x", "http://127.0.0.1:" .. p:port(1),
      "http://127.0.0.1:1/" })
    p:logged '"level":"debug"'
  end)

  it("completes where lines are evaluated, and what commands take", function()
    local s = assert(stream.dial("unix:" .. socket))
    s:set_deadline(task.now() + 20000)
    local function completed(text, worker)
      s:write(cjson.encode { op = "complete", text = text, worker = worker }, "\n")
      local answer = cjson.decode(s:read_until("\n", 65536))
      return answer.word .. " > " .. table.concat(answer.list, " ")
    end
    assert.equal('services. > services["service-0"]', completed("services.", 2))
    local field = 'services["service-0"].nam'
    assert.equal(field .. " > " .. field .. "e", completed(field, "all"))
    assert.equal("services. > ", completed "services.")
    assert.equal("config.services[1].ad > config.services[1].addr", completed "config.services[1].ad")
    assert.equal("tg.sle > tg.sleep", completed(":wait tg.sle", 1))
    assert.equal("inf > info", completed ":log inf")
    assert.equal(":wo > :worker", completed ":wo")
    assert.equal(" > 1 2 all control", completed ":worker ")
    assert.equal("socks4 > socks4 socks4a", completed ":doc socks4")
    assert.equal("ser > service=service-0", completed ":connections ser")
    s:close()
    local text = repl({ ":worker 7", "1 + 1" }).stdout
    assert.equal('error: there is no worker "7"; they are 1 to 2, all, and control\n2\n', text)
    text = eval(":help").stdout
    for _, name in ipairs { "connections", "nodes", "profile", "worker", "wait", "quit" } do
      assert.matches("\n:" .. name .. " ", "\n" .. text)
    end
  end)

  it("takes nobody's file for its socket", function()
    local path = programs.file(programs.folder(), "mine", "text")
    local other = proxy.start { "-L", "http://127.0.0.1:0", "-repl", path }
    other:logged "no REPL"
    other:stop()
    assert.equal("text", io.open(path):read "*a")
  end)

  it("says when there is nobody to talk to", function()
    local result = programs.run(proxy.executable, { "eval", "--socket", socket .. ".gone", "1" })
    assert.equal(1, result.code)
    assert.matches("no tidegate answers at %S+%.gone ", result.stderr)
  end)

  it("goes with the process", function()
    p:stop()
    assert.is_nil(luv.fs_stat(socket))
  end)
end)
