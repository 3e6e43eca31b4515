local helpers = require "spec.helpers"
local keys = require "tidegate.net.ssh.keys"
local programs = require "spec.helpers.programs"

local A, B = ("A"):rep(68), ("B"):rep(66) .. "=="

describe("authorized keys", function()
  after_each(helpers.task(function()
    programs.stop_all()
  end))

  local function read(text)
    return keys.authorized(programs.file(programs.folder(), "keys", text))
  end

  it("are one a line, with comments, options and empty lines", helpers.task(function()
    local found, restricted = read(("# mine\n\nssh-ed25519 %s me@here\r\n"
      .. "  ecdsa-sha2-nistp256 %s\n"):format(A, B))
    assert.same({ [A] = true, [B] = true }, found)
    assert.is_nil(restricted)
    found, restricted = read(('from="10.0.0.0/8, a b",no-pty ssh-rsa %s\n'):format(A))
    assert.same({ [A] = true }, found)
    assert.equal(1, restricted)
    assert.same({}, (read ""))
  end))

  it("are refused where a line is none", helpers.task(function()
    for _, text in ipairs { "nonsense", "ssh-ed25519", "ssh-ed25519 !!", "a b c ssh-rsa " .. A, A } do
      local found, err = read("# x\n" .. text)
      assert.is_nil(found)
      assert.equal("config", err.code)
      assert.matches(":2: not a public key", err.message, 1, true)
    end
    local found, err = keys.authorized "/nowhere/at/all"
    assert.is_nil(found)
    assert.matches("cannot read", err.message)
  end))
end)
