-- What scripts answer that makes no sense: as if they had raised, and said with file and line.

local kinds = require "tidegate.policy.kinds"
local policy = require "tidegate.policy.policy"

local said
local log = {
  error = function(_, text)
    said = text
  end,
}

local function make(word, fn, options)
  local kind = kinds.by_word(word)
  return policy.scripted(kind, "x", fn, options, { name = "x", log = log, registry = {} })
end

describe("an object of a script that answers nonsense", function()
  before_each(function()
    said = nil
  end)

  -- kind, main method, what the script answers, what the object answers then, what was wanted
  for _, case in ipairs {
    { "auther", "check", { {} }, nil, "true, an id or nil is wanted, not a table" },
    { "auther", "check", { 5 }, nil, "true, an id or nil is wanted, not a number" },
    { "limiter", "limit", { "fast" }, nil, 'an amount of bytes is wanted, not "fast"' },
    { "limiter", "limit", { 5, {} }, nil, "an amount of bytes is wanted, not a table" },
    { "limiter", "limit", { 5, 6, "x" }, nil, 'an amount of bytes is wanted, not "x"' },
    { "climiter", "limit", { "5" }, nil, 'a number of connections is wanted, not "5"' },
    { "cache", "get", { 5 }, nil, "text is wanted, not a number" },
    { "ingress", "get", { {} }, nil, "an endpoint is wanted, not a table" },
    { "rewriter", "rewrite", { 7 }, nil, "a body is wanted, not a number" },
    { "admission", "admits", { "yes" }, true },
    { "bypass", "contains", {}, false },
    { "limiter", "limit", { "1MB", 0, 5 }, "1MB" },
    { "limiter", "limit", {}, nil },
    { "climiter", "limit", { 5 }, 5 },
    { "auther", "check", { false }, nil },
  } do
    it(("%s: %s"):format(case[1], case[5] or "fine: " .. tostring(case[3][1])), function()
      local object = make(case[1], function()
        return unpack(case[3], 1, 3)
      end)
      assert.equal(case[4], (object[case[2]](object, {}, "tcp", "192.0.2.1:1")))
      if case[5] then
        assert.matches("scripted_spec.lua:%d+: ", said)
        assert.is_truthy(said:find(case[5], 1, true), said)
      else
        assert.is_nil(said)
      end
    end)
  end

  it("is what its definition says of errors", function()
    local open = make("climiter", function()
      return {}
    end, { on_error = 3 })
    assert.equal(3, open:limit({}, "$"))
  end)
end)
