-- Stored passwords that are hashes.

local auth = require "tidegate.policy.auth"
local helpers = require "spec.helpers"
local native = require "tidegate.native.password"
local secret = require "tidegate.policy.auth.secret"

local in_task = helpers.task

-- Of "secret" (crypt ones made with openssl passwd and Python's crypt) and of "password" (argon2's own tests).
local HASHES = {
  { "$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/1GM/O6IND4WQhG.", "secret" },
  { "$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM.", "secret" },
  { "$2b$06$xeakvh6NO1wJZ9KHDm3a4uB3AAeBXrIR04NPY1meFMq1PFnhcqLty", "secret" },
  { "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "password" },
  { "$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$iekCn0Y3spW+sCcFanM2xBT63UP2sghkUoHLIUpWRS8", "password" },
}

describe("stored passwords", function()
  it("may be hashes", in_task(function()
    for _, item in ipairs(HASHES) do
      assert.is_true(secret.is_hash(item[1]), item[1])
      assert.is_true(secret.matches(item[2], item[1]), item[1])
      assert.is_true(secret.matches(item[2], item[1]), "remembered")
      for _, wrong in ipairs { item[2] .. "x", item[2] .. "\0", "", item[2]:upper(), ("x"):rep(5000), item[1] } do
        assert.is_false(secret.matches(wrong, item[1]), item[1])
      end
    end
  end))

  it("that only look like hashes are passwords", in_task(function()
    for _, text in ipairs { "$2b$", "$6$", "$", "$1$abc", "$2b$06$xeakvh6NO1wJZ9KHDm3a4u", "$argon2id$",
      "$5$rounds=$x$y", "$6$abcdefgh$short",
      "$2b$06$xeakvh6NO1wJZ9KHDm3a4uB3AAeBXrIR04NPY1meFMq1PFnhcqLt ", "$argon2id$v=19$m=x" } do
      assert.is_false(secret.is_hash(text), text)
      assert.is_true(secret.matches(text, text), text)
      assert.is_false(secret.matches(text .. "x", text), text)
    end
  end))

  it("that cost too much or are broken match nothing", in_task(function()
    local cases = {
      { "$2b$31$xeakvh6NO1wJZ9KHDm3a4uB3AAeBXrIR04NPY1meFMq1PFnhcqLty", "limit" },
      { "$6$rounds=999999999$abcdefgh$" .. ("x"):rep(86), "limit" },
      { "$argon2id$v=19$m=9965536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "limit" },
      { "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$!!!", "invalid" },
      { "$argon2id$v=19$m=1,t=0,p=0$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "invalid" },
    }
    for _, case in ipairs(cases) do
      local matches, err = secret.matches("secret", case[1])
      assert.is_nil(matches, case[1])
      assert.equal(case[2], err.code, case[1])
    end
  end))

  it("are asked about once by many who ask the same, and not without bound", in_task(function()
    local stored = HASHES[1][1]
    local computed, real = 0, native.verify
    native.verify = function(...)
      computed = computed + 1
      return real(...)
    end
    local same, other = {}, {}
    for i = 1, 20 do
      same[i] = helpers.spawn(secret.matches, "wrong together", stored)
    end
    for i = 1, 300 do
      other[i] = helpers.spawn(secret.matches, "guess " .. i, stored, function()
        return i < 4
      end)
    end
    for i = 1, 20 do
      assert.is_false(same[i]())
    end
    local refused = 0
    for i = 1, 300 do
      local matches, err = other[i]()
      assert.is_falsy(matches)
      refused = refused + (err and err.code == "busy" and 1 or 0)
    end
    native.verify = real
    assert.equal(4, computed)
    assert.truthy(refused > 20 and refused < 60, refused)
  end))

  it("are not refused to some because others may not ask", in_task(function()
    local stored = HASHES[1][1]
    local refused = helpers.spawn(secret.matches, "not yet asked", stored, function()
      return false
    end)
    local asked, real = 0, native.verify
    native.verify = function(...)
      asked = asked + 1
      return real(...)
    end
    local other = helpers.spawn(secret.matches, "not yet asked", stored)
    assert.is_false(refused())
    assert.is_false(other())
    native.verify = real
    assert.equal(1, asked)
  end))

  it("are compared for users who do not exist, too", in_task(function()
    local people = auth.list_of { { username = "a", password = HASHES[2][1] } }
    assert.equal("a", people:check({}, "a", "secret"))
    local asked, real = 0, native.verify
    native.verify = function(...)
      asked = asked + 1
      return real(...)
    end
    assert.is_nil(people:check({}, "nobody", "a guess nobody made before"))
    native.verify = real
    assert.equal(1, asked)
  end))
end)
