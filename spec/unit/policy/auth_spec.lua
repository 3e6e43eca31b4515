local auth = require "tidegate.policy.auth"

local function check(auther, user, password)
  return auther:check({}, user, password)
end

describe("policy.auth", function()
  it("compares like ==", function()
    for _, one in ipairs { "", "a", "b", "aa", "ab", "ba" } do
      for _, other in ipairs { "", "a", "b", "aa", "ab", "ba" } do
        assert.equal(one == other, auth.same(one, other))
      end
    end
  end)

  it("knows its users", function()
    local people = auth.list_of {
      { username = "a", password = "x" }, { username = "", password = "y" }, { username = "open" },
    }
    assert.same("a", check(people, "a", "x"))
    assert.is_nil(check(people, "a", "y"))
    assert.is_nil(check(people, "b", "x"))
    assert.is_nil(check(people, "", "y"))
    assert.is_nil(check(people, "a", ""))
    assert.same("open", check(people, "open", "anything"))
  end)

  it("refuses everybody when it is empty", function()
    assert.is_nil(check(auth.list_of {}, "", ""))
    assert.is_nil(check(auth.list_of {}, "a", "\0"))
  end)

  it("asks the members of a group in order", function()
    local authers = {
      one = auth.list_of { { username = "a", password = "1" } },
      two = auth.scripted {
        check = function(_, user)
          return user == "b" and "id-b" or user == "c"
        end,
      },
    }
    local group = auth.of({ auther = "one", authers = { "two" }, auth = { username = "x", password = "y" } }, authers)
    assert.same("a", check(group, "a", "1"))
    assert.same("id-b", check(group, "b", ""))
    assert.same("c", check(group, "c", ""))
    assert.is_nil(check(group, "x", "y"), "inline credentials do not count beside names")
  end)

  it("refuses when a named auther is missing", function()
    local group = auth.of({ auther = "gone" }, {})
    assert.is_nil(check(group, "a", "b"))
  end)

  it("takes inline credentials, or lets everybody in", function()
    assert.same("a", check(auth.of({ auth = { username = "a", password = "b" } }, {}), "a", "b"))
    assert.is_nil(auth.of({ auth = { username = "" } }, {}))
    assert.is_nil(auth.of({}, {}))
  end)

  it("says why, without the password", function()
    local id, err = auth.check(auth.list_of {}, {}, "me", "hunter2")
    assert.is_nil(id)
    assert.same("auth", err.code)
    assert.is_nil(tostring(err):find("hunter2", 1, true))
  end)
end)
