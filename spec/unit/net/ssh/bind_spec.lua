local bind = require "tidegate.net.ssh.bind"

describe("the addresses on which clients of SSH may listen", function()
  local function allows(policy, host, port)
    return (policy:allows(host, port)) or false
  end

  it("are all but privileged ports for who has logged in, and none for others", function()
    local policy = bind.new(nil, true)
    assert.is_true(allows(policy, "", 8080))
    assert.is_true(allows(policy, "localhost", 0))
    assert.is_true(allows(policy, "192.0.2.1", 65535))
    local ok, err = policy:allows("localhost", 80)
    assert.is_nil(ok)
    assert.equal("blocked", err.code)
    assert.matches("named", err.message)
    ok, err = bind.new(nil, false):allows("localhost", 8080)
    assert.is_nil(ok)
    assert.matches("need no login", err.message)
  end)

  it("are those that are named", function()
    local policy = assert(bind.new({ "localhost:8000-8010", "10.0.0.0/8:80", "[::1]:9", "192.0.2.7" }, true))
    for _, case in ipairs {
      { "localhost", 8000, true }, { "127.0.0.1", 8010, true }, { "::1", 8005, true }, { "::1", 9, true },
      { "localhost", 8011, false }, { "", 8000, false }, { "0.0.0.0", 80, false }, { "10.9.9.9", 80, true },
      { "10.9.9.9", 81, false }, { "192.0.2.7", 4000, true }, { "192.0.2.7", 0, true }, { "192.0.2.7", 22, false },
      { "localhost", 0, false }, { "some.name", 8000, false },
    } do
      assert.equal(case[3], allows(policy, case[1], case[2]), case[1] .. ":" .. case[2])
    end
    assert.is_true(allows(bind.new({ "any:1-65535" }, false), "", 80))
    assert.is_false(allows(bind.new({ "none" }, true), "localhost", 8080))
    assert.is_false(allows(bind.new({}, true), "localhost", 8080))
  end)

  it("are refused where they make no sense", function()
    for _, item in ipairs { "some.name", "10.0.0.1:0", "10.0.0.1:9-8", "10.0.0.1:70000", "::1:x", "" } do
      local policy, err = bind.new({ item }, true)
      if item ~= "" then
        assert.is_nil(policy, item)
        assert.matches("no address to listen on", err.message)
      end
    end
  end)
end)
