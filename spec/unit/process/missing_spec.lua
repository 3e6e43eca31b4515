-- References to names that nothing has (the API can delete what is in use): what stands in for each kind of
-- object.  Spec: policy 1.1; where we differ, a missing object is the safe answer.

local helpers = require "spec.helpers"
local plane = require "spec.helpers.plane"
local task = require "tidegate.native.task"

-- A service that forwards to an echo server, with these fields of its own.
local function build(fields, handler)
  local service = {
    name = "s", handler = { type = "tcp" }, forwarder = { nodes = { { name = "t", addr = plane.echo() } } },
  }
  for key, value in pairs(fields or {}) do
    service[key] = value
  end
  for key, value in pairs(handler or {}) do
    service.handler[key] = value
  end
  local built, problems = plane.build { services = { service } }
  assert.same({}, problems)
  return built.s
end

local function echoes(service)
  local client = plane.client(service)
  client:set_deadline(task.now() + 20000)
  client:write "x"
  local answer = client:read()
  client:close()
  return answer == "x"
end

local HANDLER_RECORDER = { { name = "none", record = "recorder.service.handler" } }

describe("what nobody defined", function()
  after_each(helpers.task(plane.cleanup))

  -- kind, fields of the service, of its handler, whether connections pass
  for _, row in ipairs {
    { "admission", { admission = "none" }, nil, false },
    { "bypass", { bypass = "none" }, nil, true },
    { "resolver", { resolver = "none" }, nil, true },
    { "hosts", { hosts = "none" }, nil, true },
    { "observer", { observer = "none", metadata = { enableStats = true } }, { observer = "none" }, true },
    { "recorder", { recorders = HANDLER_RECORDER }, nil, true },
    { "limiter", { limiter = "none" }, { limiter = "none" }, true },
    { "climiter", { climiter = "none" }, nil, true },
    { "rlimiter", { rlimiter = "none" }, nil, true },
    { "quota", { quotas = { "none" } }, nil, true },
    { "cache", { cache = "none" }, { metadata = { sniffing = true } }, true },
    { "rewriter", { rewriter = "none" }, nil, true },
    { "logger", { logger = "none", loggers = { "none" } }, nil, true },
    { "chain", nil, { chain = "none" }, false },
  } do
    it(("%s %s"):format(row[1], row[4] and "does not matter" or "refuses everybody"), helpers.task(function()
      assert.equal(row[4], echoes(build(row[2], row[3])))
    end))
  end

  it("resolver leaves names to the system", helpers.task(function()
    local echo = plane.echo()
    local service = build { resolver = "none", hosts = "none", forwarder = {
      nodes = { { name = "t", addr = "localhost:" .. echo:match ":(%d+)$" } },
    } }
    assert.is_true(echoes(service))
  end))

  it("logger leaves the default one", helpers.task(function()
    local path = os.tmpname()
    local built = plane.build {
      log = { output = path, level = "info" }, loggers = { { name = "empty" } },
      services = { { name = "s", handler = { type = "tcp" }, logger = "none", loggers = { "empty" },
        forwarder = { nodes = { { name = "t", addr = plane.echo() } } } } },
    }
    assert.is_true(echoes(built.s))
    helpers.eventually(function()
      local file = io.open(path)
      local text = file:read "*a"
      file:close()
      return text:find(" <> ", 1, true)
    end)
    os.remove(path)
  end))
end)
