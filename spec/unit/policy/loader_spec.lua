-- Items from files, and what lines become.

local helpers = require "spec.helpers"
local loader = require "tidegate.policy.loader"
local programs = require "spec.helpers.programs"
local task = require "tidegate.native.task"
local uv = require "luv"

local in_task = helpers.task

describe("policy.loader", function()
  local folder

  before_each(function()
    folder = programs.folder()
  end)

  after_each(programs.stop_all)

  local function read(text, spec)
    local path = programs.file(folder, "items", text)
    return loader.fetch("file", { path = path }, spec or {})
  end

  it("makes an item of each line", in_task(function()
    assert.same({ "a b", "c", "# d # e" }, read "  a\tb \r\n\n\t\n c\n# d # e")
    assert.same({}, read "")
    assert.same({ "x" }, read "\239\187\191x\n")
  end))

  it("leaves comments out as the kind has them", in_task(function()
    local text = "a # b\n # c\n#d\ne#f"
    assert.same({ "a", "e" }, read(text, { comments = "any" }))
    assert.same({ "a # b", "e#f" }, read(text, { comments = "first" }))
    assert.same({ "a # b", "# c", "#d", "e#f" }, read(text, {}))
  end))

  it("has the kind say what a line becomes", in_task(function()
    assert.same({ { "a" }, { "c" } }, read("a\nb\nc", { line = function(line)
      if line ~= "b" then
        return { line }
      end
    end }))
    assert.equal(" # all\r\n", read(" # all\r\n", { raw = true, comments = "any" }))
  end))

  it("reads lines and files of any length", in_task(function()
    local long = ("x"):rep(200000)
    assert.same({ long, "y" }, read(long .. "\ny"))
    assert.equal(3000000, #read(("z"):rep(3000000), { raw = true }))
    assert.equal(120000, #read(("line\n"):rep(120000)))
  end))

  it("says why a file cannot be read", in_task(function()
    local cases = { missing = "no such file", [""] = "regular", pipe = "regular" }
    assert(os.execute(("mkfifo '%s/pipe'"):format(folder)) == 0)
    for name, words in pairs(cases) do
      local items, err = loader.fetch("file", { path = folder .. "/" .. name }, {})
      assert.is_nil(items, name)
      assert.truthy(tostring(err):find(words, 1, true), tostring(err))
    end
  end))
end)

describe("policy.loader's watch", function()
  local folder, path, watch, changes

  before_each(function()
    folder = programs.folder()
    path = programs.file(folder, "items", "one")
    changes = 0
  end)

  after_each(function()
    if watch then
      watch:close()
      watch:close()
    end
    programs.stop_all()
  end)

  local function begin(name)
    path = name or path
    loader.fetch("file", { path = path }, { raw = true })
    watch = loader.watch({ path = path }, function()
      changes = changes + 1
    end)
  end

  local function changed(count)
    helpers.eventually(function()
      return changes >= count
    end, "the change was not seen")
  end

  it("sees a file written in place, once", in_task(function()
    begin()
    programs.file(folder, "items", "two")
    changed(1)
    task.sleep(0.2)
    assert.equal(1, changes)
  end))

  it("sees every other file that takes the name, and writing to it", in_task(function()
    begin()
    for i = 1, 3 do
      programs.file(folder, "new", "text " .. i)
      os.rename(folder .. "/new", path)
      changed(i)
    end
    programs.file(folder, "items", "in place")
    changed(4)
  end))

  it("sees what has changed between reading and watching", in_task(function()
    loader.fetch("file", { path = path }, {})
    programs.file(folder, "items", "meanwhile")
    watch = loader.watch({ path = path }, function()
      changes = changes + 1
    end)
    changed(1)
  end))

  it("does not mind its neighbours", in_task(function()
    begin()
    for i = 1, 5 do
      programs.file(folder, "other" .. i, "x")
      task.sleep(0.03)
    end
    task.sleep(0.2)
    assert.equal(0, changes)
  end))

  it("follows links, also when they are turned", in_task(function()
    local there = programs.folder()
    programs.file(there, "real", "one")
    assert(uv.fs_symlink(there .. "/real", folder .. "/link"))
    begin(folder .. "/link")
    programs.file(there, "real", "two")
    changed(1)
    local elsewhere = programs.folder()
    programs.file(elsewhere, "real", "three")
    assert(uv.fs_symlink(elsewhere .. "/real", folder .. "/link2"))
    os.rename(folder .. "/link2", folder .. "/link")
    changed(2)
    programs.file(elsewhere, "real", "four")
    changed(3)
  end))

  it("waits for a file, and its folder, to be there", in_task(function()
    begin(folder .. "/sub/items")
    uv.fs_mkdir(folder .. "/sub", 493)
    programs.file(folder, "sub/items", "now")
    changed(1)
  end))
end)
