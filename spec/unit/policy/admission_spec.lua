local admission = require "tidegate.policy.admission"
local files = require "spec.helpers.mmdb"
local log = require "tidegate.process.log"

local function of(matchers, more)
  local config = { name = "a", matchers = matchers }
  for key, value in pairs(more or {}) do
    config[key] = value
  end
  local data = assert(admission.prepare(config))
  local made = assert(admission.new(config, { data = data }))
  admission.release(data)
  return made
end

-- patterns, whitelist, address, admitted: spec 4
local ROWS = {
  { {}, false, "1.2.3.4:1", true },
  { {}, true, "1.2.3.4:1", false },
  { { "1.2.3.4" }, false, "1.2.3.4:5", false },
  { { "1.2.3.4" }, false, "1.2.3.5:5", true },
  { { "1.2.3.4" }, true, "1.2.3.4:5", true },
  { { "1.2.3.4" }, true, "1.2.3.5:5", false },
  { { "10.0.0.0/8" }, false, "10.9.9.9:1", false },
  { { "10.0.0.0/8" }, true, "11.9.9.9:1", false },
  { { "2001:db8::/32" }, true, "[2001:db8::1]:1", true },
  { { "::1" }, true, "[::1]:1", true },
  { { "0:0::1" }, true, "[::1]:1", true },
  { { "::ffff:1.2.3.4" }, true, "1.2.3.4:1", true },
  { { "1.2.3.4" }, true, "[::ffff:1.2.3.4]:1", true },
  { { "1.2.3.4" }, true, "1.2.3.4", true },
  { { "10.0.0.0/8" }, true, "", true },
  { { "10.0.0.0/8" }, true, "@", false },
  -- no ranges, no wildcards, no ports: such items are host names, which have no address
  { { "1.2.3.1-1.2.3.9" }, true, "1.2.3.4:1", false },
  { { "1.2.3.*" }, true, "1.2.3.4:1", false },
  { { "1.2.3.4:1" }, true, "1.2.3.4:1", false },
  { { "no-such-host.invalid" }, true, "1.2.3.4:1", false },
  { { "localhost" }, true, "127.0.0.1:1", true },
  { { "localhost", "no-such-host.invalid" }, false, "127.0.0.1:1", false },
  { { "geoip:private" }, true, "192.168.1.1:9", true },
}

describe("policy.admission", function()
  setup(function()
    log.configure { output = "none" }
  end)

  teardown(function()
    log.configure {}
  end)

  for i, row in ipairs(ROWS) do
    it(("row %d"):format(i), function()
      local one = of(row[1], { whitelist = row[2] })
      assert.equal(row[4], one:admits(nil, "tcp", row[3]))
      one:close()
    end)
  end

  it("takes reverse for whitelist", function()
    assert.is_false(of({ "1.2.3.4" }, { reverse = true }):admits(nil, "tcp", "1.2.3.5:1"))
  end)

  it("asks whence a client comes", function()
    local path = files.write(os.tmpname(), files.countries { { "1.0.0.0/8", "AU" } })
    local one = of({ "geoip:AU" }, { mmdb = { country = path } })
    os.remove(path)
    assert.is_false(one:admits(nil, "tcp", "1.2.3.4:1"))
    assert.is_true(one:admits(nil, "tcp", "2.2.3.4:1"))
  end)

  it("reads loaders", function()
    local config = { name = "a", file = { path = "f" }, http = { url = "u" }, whitelist = true }
    local data = assert(admission.prepare(config, {
      file = "1.1.1.1 # one\n#2.2.2.2\n\tlocalhost\n", redis = { "3.3.3.3" }, http = "4.4.4.0/24",
    }))
    local one = assert(admission.new(config, { data = data }))
    for ip, expected in pairs {
      ["1.1.1.1"] = true, ["2.2.2.2"] = false, ["3.3.3.3"] = true, ["4.4.4.9"] = true, ["127.0.0.1"] = true,
    } do
      assert.equal(expected, one:admits(nil, "tcp", ip .. ":1"), ip)
    end
    local fresh = assert(admission.prepare(config, {}))
    assert(one:load(fresh))
    assert.is_false(one:admits(nil, "tcp", "1.1.1.1:1"))
    admission.release(data)
    admission.release(fresh)
  end)

  it("groups: all must admit", function()
    local registry = { admissions = {
      ten = of({ "10.0.0.0/8" }, { whitelist = true }),
      bad = of { "10.6.6.6" },
      script = admission.scripted {
        admits = function(_, _, network)
          return network == "udp" or nil
        end,
      },
    } }
    for _, row in ipairs {
      { { admission = "ten" }, "tcp", "10.6.6.6:1", true },
      { { admission = "ten", admissions = { "bad" } }, "tcp", "10.6.6.6:1", false },
      { { admissions = { "ten", "bad" } }, "tcp", "10.6.6.7:1", true },
      { { admissions = { "ten", "bad" } }, "tcp", "11.6.6.7:1", false },
      { { admissions = { "script" } }, "tcp", "11.6.6.7:1", false },
      { { admissions = { "script" } }, "udp", "11.6.6.7:1", true },
      { { admission = "nobody" }, "tcp", "10.6.6.7:1", false },
      { { admissions = { "ten", "nobody" } }, "tcp", "10.6.6.7:1", false },
    } do
      assert.equal(row[4], admission.of(row[1], registry):admits(nil, row[2], row[3]))
    end
    assert.is_nil(admission.of({ admission = "", admissions = {} }, registry))
  end)
end)
