-- The recipes of docs/cookbook.md, carried out as the page says.

local cookbook = require "spec.helpers.cookbook"
local helpers = require "spec.helpers"
local origin = require "spec.helpers.origin"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local uv = require "luv"

-- What each recipe needs beside what it starts itself, by its number:
--   possible()      whether this machine allows it
--   prepare(web)    starts what stands for the rest of the world; returns what stands for what
--   patient         answers may come to what the page says in a while
--   before, after   functions of the kitchen called around steps, by their number
--   check(k)        what else must be true in the end
local entries = {
  [4] = {
    check = function(k)
      k.started[1]:logged("socks5", true)
    end,
  },
}

-- nginx in the place of http://example.com/ and https://example.com/, dnsmasq in that of 1.1.1.1.
local function world(recipe)
  local web = origin.nginx()
  programs.file(web.www, "index.html", "hello\n")
  local replace = {
    { "http://example.com/", ("http://127.0.0.1:%d/"):format(web.http) },
    { "https://example.com/", ("https://localhost:%d/"):format(web.https) },
    { "example.com:80", "127.0.0.1:" .. web.http },
    { "server.example", "127.0.0.1" },
  }
  if recipe:mentions "1.1.1.1:53" then
    replace[#replace + 1] = { "1.1.1.1:53", "127.0.0.1:" .. origin.dnsmasq { ["example.com"] = "192.0.2.33" } }
  end
  return web, replace
end

describe("the cookbook", function()
  local recipes = cookbook.recipes()

  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  it("quotes its files as they are, and all of them", function()
    local quoted = {}
    for i, recipe in ipairs(recipes) do
      assert.equal(i, recipe.number, recipe.title)
      for _, file in ipairs(recipe.files) do
        assert.equal(cookbook.read(file.path), file.text, "docs/cookbook.md does not quote what is in " .. file.path)
        quoted[file.path] = true
      end
    end
    local scan = assert(uv.fs_scandir "examples/cookbook")
    local name = uv.fs_scandir_next(scan)
    while name do
      assert.is_true(quoted["examples/cookbook/" .. name], name .. " is in no recipe")
      name = uv.fs_scandir_next(scan)
    end
  end)

  for _, recipe in ipairs(recipes) do
    local entry = entries[recipe.number] or {}
    it(("%d. %s"):format(recipe.number, recipe.title), helpers.task(function()
      if entry.possible and not entry.possible() then
        return pending "this machine does not allow it"
      end
      local web, replace = world(recipe)
      if entry.prepare then
        for _, pair in ipairs(entry.prepare(web)) do
          table.insert(replace, 1, pair)
        end
      end
      local k = cookbook.kitchen(recipe, replace)
      k.web, k.patient, k.env.CURL_CA_BUNDLE = web, entry.patient, web.folder .. "/cert.pem"
      k:cook(entry)
      if entry.check then
        entry.check(k)
      end
    end))
  end
end)
