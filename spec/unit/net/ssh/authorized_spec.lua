local authorized = require "tidegate.net.ssh.authorized"
local helpers = require "spec.helpers"
local programs = require "spec.helpers.programs"

local A, B = ("A"):rep(68), ("B"):rep(66) .. "=="

describe("authorized keys", function()
  after_each(helpers.task(function()
    programs.stop_all()
  end))

  local function read(text)
    return authorized.load(programs.file(programs.folder(), "keys", text))
  end

  it("are one a line, with comments, options and empty lines", helpers.task(function()
    local found = read(("# mine\n\nssh-ed25519 %s me@here\r\n  ecdsa-sha2-nistp256 %s\n"):format(A, B))
    assert.is_true(authorized.permits(found[A], "192.0.2.1"))
    assert.is_true(authorized.may_open(found[B], "any.example", 1))
    found = read(('from="10.0.0.0/8, a b",no-pty,environment="A=\\"b\\"" ssh-rsa %s\n'):format(A))
    assert.is_true(authorized.permits(found[A], "10.1.2.3"))
    assert.same({}, (read ""))
  end))

  it("are refused where a line is none", helpers.task(function()
    for _, text in ipairs { "nonsense", "ssh-ed25519", "ssh-ed25519 !!", "a b c ssh-rsa " .. A, A } do
      local found, err = read("# x\n" .. text)
      assert.is_nil(found)
      assert.equal("config", err.code)
      assert.matches(":2: not a public key", err.message, 1, true)
    end
    local found, err = authorized.load "/nowhere/at/all"
    assert.is_nil(found)
    assert.matches("cannot read", err.message)
    for option, name in pairs { ['expiry-time="soon"'] = "expiry-time", from = "from", ["from=x"] = "from=x" } do
      found, err = read(option .. " ssh-rsa " .. A)
      assert.is_nil(found)
      assert.matches(("the option %s"):format(name), err.message, 1, true)
    end
  end))

  local function with(options)
    return (assert(read(options .. " ssh-ed25519 " .. A))[A])
  end

  it("may be limited to addresses and times", helpers.task(function()
    local entry = with 'from="!10.0.0.9,10.0.0.*,192.0.2.0/24,2001:db8::1"'
    for ip, good in pairs {
      ["10.0.0.1"] = true, ["10.0.0.9"] = false, ["10.0.1.1"] = false, ["192.0.2.77"] = true,
      ["2001:db8::1"] = true, ["2001:db8::2"] = false,
    } do
      assert.equal(good, authorized.permits(entry, ip) or false, ip)
    end
    assert.is_true(authorized.permits(with 'expiry-time="20990101"', "::1"))
    for _, time in ipairs { "20200101", "202001011200", "20200101120000Z" } do
      local ok, why = authorized.permits(with(('expiry-time="%s"'):format(time)), "::1")
      assert.is_nil(ok)
      assert.matches("expired", why)
    end
    local soon = os.date("!%Y%m%d%H%M%SZ", os.time() + 600)
    assert.is_true(authorized.permits(with(('expiry-time="%s"'):format(soon)), "::1"))
  end))

  it("may be limited to targets", helpers.task(function()
    assert.is_false(authorized.may_open(with "restrict", "a", 1))
    assert.is_false(authorized.may_listen(with "no-port-forwarding", "a", 1))
    assert.is_true(authorized.may_open(with "restrict,port-forwarding", "a", 1))
    local entry = with('permitopen="db.example:5432",permitopen="[::1]:*",'
      .. 'permitlisten="8080",permitlisten="localhost:*"')
    assert.is_true(authorized.may_open(entry, "DB.example", 5432))
    assert.is_true(authorized.may_open(entry, "::1", 9))
    assert.is_false(authorized.may_open(entry, "db.example", 22))
    assert.is_true(authorized.may_listen(entry, "", 8080))
    assert.is_true(authorized.may_listen(entry, "localhost", 1))
    assert.is_false(authorized.may_listen(entry, "0.0.0.0", 1))
  end))

  it("are not those of an authority", helpers.task(function()
    assert.same({}, (read("cert-authority ssh-ed25519 " .. A)))
  end))
end)
