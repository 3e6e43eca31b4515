-- Places in the text of JSON documents.

local json = require "tidegate.chain.rewrite.json"

local function find(path, text)
  local first, last, value = json.find(assert(json.compile(path)), text)
  return first and { text:sub(first, last), value }
end

describe("place in JSON", function()
  for _, case in ipairs {
    { "a", '{"a":1}', { "1", "1" } },
    { "a.b", ' { "x" : {"a":{"b":9}}, "a" : { "b" : "t\\"x" } }', { '"t\\"x"', 't"x' } },
    { "l.2", "[1,2]", nil },
    { "1", "[1, [2, 3]]", { "[2, 3]", "[2, 3]" } },
    { "1.0", "[1, [2, 3]]", { "2", "2" } },
    { "a\\.b", '{"a.b":true}', { "true", "true" } },
    { "é", '{"\\u00e9":"x"}', { '"x"', "x" } },
    { "k", '{"k":"\\u00e9\\n\\ud83d\\ude00"}', { '"\\u00e9\\n\\ud83d\\ude00"', "é\n😀" } },
    { "a", '{"b":"}","a":null}', { "null", "null" } },
    { "a", '{"b":"\\\\","a":-1.5e3}', { "-1.5e3", "-1.5e3" } },
    { "a", '{"a":', nil },
    { "a", '{"a":"x', nil },
    { "a", '{"a" 1}', nil },
    { "a", "{", nil },
    { "a", "[]", nil },
    { "a", "", nil },
    { "a", ('{"x":%s1%s,"a":2}'):format(("["):rep(600), ("]"):rep(600)), nil },
  } do
    local path, text, expected = unpack(case, 1, 3)
    it(("finds %s in %s"):format(path, text:sub(1, 40)), function()
      assert.same(expected, find(path, text))
    end)
  end

  it("knows which paths it cannot", function()
    for _, path in ipairs { "", "a.#", "a.*", "a|b" } do
      assert.is_nil((json.compile(path)))
    end
  end)

  it("quotes texts", function()
    assert.same('"a\\"\\\\\\n\\u0001"', json.quote 'a"\\\n\1')
  end)
end)
