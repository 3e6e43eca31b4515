local luv = require "luv"
local programs = require "spec.helpers.programs"
local save = require "tidegate.admin.save"

local function read(path)
  local f = assert(io.open(path))
  local text = f:read "*a"
  f:close()
  return text
end

describe("admin.save", function()
  local mine, other, loaded

  before_each(function()
    mine, other = programs.folder(), programs.folder()
    loaded = programs.file(mine, "gate.yml", "old")
  end)

  after_each(programs.stop_all)

  it("knows the folders of the files that were read", function()
    local folders = save.folders { "http://x/y", loaded, "{}", "-" }
    assert.same({ [luv.fs_realpath(mine)] = true }, folders)
    assert.same({ [luv.fs_realpath "."] = true }, save.folders {})
    assert.equal(loaded, save.last_file { loaded, "-" })
    assert.is_nil(save.last_file { "-" })
  end)

  it("keeps to them, through links and dots", function()
    local folders = save.folders { loaded }
    assert.is_true(save.allowed(loaded, folders))
    assert.is_true(save.allowed(mine .. "/./new.yml", folders))
    programs.file(other, "secret", "text")
    luv.fs_symlink(other .. "/secret", mine .. "/link")
    luv.fs_symlink(other .. "/absent", mine .. "/dangling")
    luv.fs_symlink(other, mine .. "/folder")
    for _, path in ipairs { other .. "/x", mine .. "/../x", mine .. "/link", mine .. "/dangling", mine .. "/folder/x",
      mine .. "/folder", mine, mine .. "/", mine .. "/none/x", mine .. "/a\0b", "/dev/null" } do
      assert.is_nil(save.allowed(path, folders), path)
    end
  end)

  it("writes all or nothing, for the owner alone", function()
    assert.is_true(save.write(loaded, "new"))
    assert.equal("new", read(loaded))
    assert.is_true(save.write(mine .. "/fresh", "text"))
    assert.equal(tonumber("600", 8), luv.fs_stat(mine .. "/fresh").mode % 512)
    local ok, err = save.write(mine .. "/none/x", "text")
    assert.is_nil(ok)
    assert.matches("^create file: ", err)
  end)
end)
