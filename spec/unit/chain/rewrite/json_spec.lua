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
    for _, path in ipairs { "", "a.#(b==1)", "a@b", "a|b" } do
      assert.is_nil((json.compile(path)))
    end
  end)

  -- path, document, with "new" set there as gost's library does
  for _, case in ipairs {
    { "a.b", '{"x":1}', '{"x":1,"a":{"b":"new"}}' },
    { "a.b", "{}", '{"a":{"b":"new"}}' },
    { "a.b", "{ }", '{ "a":{"b":"new"}}' },
    { "a.b", '{"a":null}', '{"a":{"b":"new"}}' },
    { "a.b", '{"a":5}', '{"a":{"b":"new"}}' },
    { "a.b", '{"a":"s"}', '{"a":{"b":"new"}}' },
    { "a.b", '{"a":[1]}', '{"a":[1]}' },
    { "a.b", '{"a":{}}', '{"a":{"b":"new"}}' },
    { "a.b", '{"a":{"b":[{}]},"c":0}', '{"a":{"b":"new"},"c":0}' },
    { "a.b", '"x"', '{"a":{"b":"new"}}' },
    { "a.b", "null", '{"a":{"b":"new"}}' },
    { "a.b.c", '{"a":{"z":1}}', '{"a":{"z":1,"b":{"c":"new"}}}' },
    { "l.0", '{"l":[]}', '{"l":["new"]}' },
    { "l.0", "{}", '{"l":["new"]}' },
    { "l.0", '{"l":{}}', '{"l":{"0":"new"}}' },
    { "l.0", '{"l":[1,2]}', '{"l":["new",2]}' },
    { "l.3", '{"l":[1]}', '{"l":[1,null,null,"new"]}' },
    { "l.2.a", '{"l":[]}', '{"l":[null,null,{"a":"new"}]}' },
    { "l.-1", '{"l":[1]}', '{"l":[1,"new"]}' },
    { "l.-1", "{}", '{"l":["new"]}' },
    { "l.99999999", '{"l":[1]}', '{"l":[1]}' },
    { "a\\.b", '{"x":1}', '{"x":1,"a.b":"new"}' },
    { "a\\.b", '{"a.b":1}', '{"a.b":"new"}' },
    { "k*", '{"j":1,"key":2,"k":3}', '{"j":1,"key":"new","k":3}' },
    { "k?y.a", '{"key":{"a":2}}', '{"key":{"a":"new"}}' },
    { "k*", '{"j":1}', '{"j":1}' },
    { "a.#.b", '{"a":[{"b":1},{"b":2}]}', '{"a":[{"b":"new"},{"b":"new"}]}' },
    { "a.#.b", '{"a":{"b":1}}', '{"a":{"b":1}}' },
    { "a.#", '{"a":[1,2]}', '{"a":[1,2]}' },
    { "a.b", '{"a":', '{"a":' },
    { "a.b", "", "" },
  } do
    local path, text, expected = unpack(case)
    it(("sets %s in %s"):format(path, text), function()
      assert.same(expected, json.set(assert(json.compile(path)), text, '"new"') or text)
    end)
  end

  it("gives several values as an array", function()
    assert.same({ "1", '[1,"x"]' }, find("a.#.b", '{"a":[{"b":1},{},{"b":"x"}]}'))
  end)

  it("quotes texts", function()
    assert.same('"a\\"\\\\\\n\\u0001"', json.quote 'a"\\\n\1')
  end)
end)
