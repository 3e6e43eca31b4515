local auth = require "tidegate.policy.auth"
local loader = require "tidegate.policy.loader"

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
    assert.is_nil(auth.of({ auth = { file = "/etc/hostname" } }, {})) -- for protocols keyed by it, not for checking
    assert.same("a", check(auth.of({ auth = { username = "a", password = "b", file = "/none" } }, {}), "a", "b"))
    assert.is_nil(auth.of({ auther = "", authers = {} }, {}))
    assert.is_nil(check(auth.of({ authers = { "empty" } }, { empty = auth.list_of {} }), "a", "b"))
  end)

  it("says why, without the password", function()
    local id, err = auth.check(auth.list_of {}, {}, "me", "hunter2")
    assert.is_nil(id)
    assert.same("auth", err.code)
    assert.is_nil(tostring(err):find("hunter2", 1, true))
  end)

  it("takes items from everywhere, the later source first", function()
    local inline = { { username = "i", password = "inline" }, { username = "f", password = "x" } }
    local config = { name = "a", auths = inline }
    local data = auth.prepare(config, {
      file = { auth.loader.line "f file", auth.loader.line "r  file # no comment ", auth.loader.line "open" },
      redis = { auth.loader.item("r", "re dis"), auth.loader.item("h", "redis") },
      http = { auth.loader.line "h http" },
    })
    local people = auth.new(config, { data = data })
    assert.same("i", check(people, "i", "inline"))
    assert.same("f", check(people, "f", "file"))
    assert.same("r", check(people, "r", "re dis"))
    assert.same("h", check(people, "h", "http"))
    assert.same("open", check(people, "open", "whatever"))
    assert.is_nil(check(people, "r", "file # no comment"))
    people:load(auth.prepare(config, { file = { { "f", "new" } } }))
    assert.same("f", check(people, "f", "new"))
    assert.is_nil(check(people, "h", "http"))
    assert.same("i", check(people, "i", "inline"))
  end)

  it("has the loader take passwords as they are written", function()
    local cases = {
      { "user pass word", { "user", "pass word" } }, { "user", { "user", "" } }, { "u #x", { "u", "#x" } },
      { "u p#q # r", { "u", "p#q # r" } },
    }
    for _, case in ipairs(cases) do
      assert.same({ case[2] }, loader.items_of("\t" .. case[1] .. "  \n# no\n \t#no\n", auth.loader))
    end
    assert.is_nil(auth.loader.item("", "x"))
  end)

  it("gives services the authers of their handler and listener", function()
    local service = { registry = { authers = { a = auth.list_of { { username = "a", password = "1" } } } } }
    auth.attach(service, { handler = { auther = "a" }, listener = { auth = { username = "l", password = "2" } } })
    assert.same("a", check(service.auther, "a", "1"))
    assert.same("l", check(service.listener_auther, "l", "2"))
    service = { registry = { authers = {} } }
    auth.attach(service, {})
    assert.is_nil(service.auther)
    assert.is_nil(service.listener_auther)
  end)
end)
