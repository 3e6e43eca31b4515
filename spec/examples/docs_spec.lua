-- The documentation: no link is dead, every page can be reached, and the command lines on the pages are right.

local cli = require "tidegate.cli"
local examples = require "spec.helpers.examples"
local uv = require "luv"

local START = "README.md"

local function list(folder, ending, found)
  local scan = assert(uv.fs_scandir(folder))
  local name, kind = uv.fs_scandir_next(scan)
  while name do
    local path = folder .. "/" .. name
    if kind == "directory" then
      list(path, ending, found)
    elseif name:find(ending, 1, true) then
      found[#found + 1] = path
    end
    name, kind = uv.fs_scandir_next(scan)
  end
  return found
end

-- A page without what stands in fences, and the commands in those.
local function split(path)
  local text, shell, fence = {}, {}, nil
  for line in (examples.read(path) .. "\n"):gmatch "([^\n]*)\n" do
    local mark = line:match "^%s*```(%a*)"
    if mark then
      fence = not fence and (mark ~= "" and mark or "text") or nil
    elseif fence == "sh" or fence == "console" then
      shell[#shell + 1] = line
    elseif not fence then
      text[#text + 1] = line
    end
  end
  return table.concat(text, "\n"), table.concat(shell, "\n")
end

-- The anchors GitHub gives to headings.
local function anchors(text)
  local found = {}
  for heading in ("\n" .. text):gmatch "\n#+ ([^\n]*)" do
    local plain = heading:gsub("%[([^%]]*)%]%([^)]*%)", "%1"):lower():gsub("[^%w_%- ]", ""):gsub(" ", "-")
    found[plain] = true
  end
  return found
end

local function joined(folder, path)
  local parts = {}
  for part in (folder .. path):gmatch "[^/]+" do
    if part == ".." then
      assert(table.remove(parts), path .. " leads out of the repository")
    elseif part ~= "." then
      parts[#parts + 1] = part
    end
  end
  return table.concat(parts, "/")
end

-- What a page links to.  @return list of { path, anchor or nil, as it is written }
local function links(path)
  local found = {}
  local text = split(path)
  for target in text:gmatch "%]%(([^)%s]+)%)" do
    local file, anchor = target:match "^([^#]*)#?(.*)$"
    if not target:find "^%a+:" then
      found[#found + 1] = {
        file == "" and path or joined(path:match "^(.*/)" or "", file), anchor ~= "" and anchor or nil, target,
      }
    end
  end
  return found
end

-- The words of a command, quotes taken off.
local function words(command)
  local found, at = {}, 1
  while command:find("%S", at) do
    local quoted, after = command:match("^%s*'([^']*)'()", at)
    if not quoted then
      quoted, after = command:match("^%s*(%S+)()", at)
    end
    found[#found + 1], at = quoted, after
  end
  return found
end

-- What `check` says of these arguments, but for files that are not here.
local function problems(arguments)
  local found = {}
  local function listen(text)
    for line in text:gmatch "[^\n]+" do
      if not line:find("No such file", 1, true) and not line:find "^tidegate: %d+ errors?,"
        and not line:find "^the configuration is " then
        found[#found + 1] = line
      end
    end
  end
  cli.main({ "check", unpack(words(arguments)) }, { stdout = listen, stderr = listen })
  return found
end

describe("the documentation", function()
  it("has no dead links, and every page can be reached", function()
    local reached, todo, dead = { [START] = true }, { START }, {}
    while #todo > 0 do
      local page = table.remove(todo)
      for _, link in ipairs(links(page)) do
        local path, anchor, written = unpack(link)
        local exists = uv.fs_stat(path) ~= nil
        local is_page = exists and path:find "%.md$"
        if not exists or anchor and not (is_page and anchors(split(path))[anchor]) then
          dead[#dead + 1] = page .. ": " .. written
        end
        if is_page and not reached[path] then
          reached[path] = true
          todo[#todo + 1] = path
        end
      end
    end
    assert.same({}, dead)
    for _, page in ipairs(list("docs", ".md", {})) do
      assert.is_true(reached[page], page .. " cannot be reached from " .. START)
    end
  end)

  it("names every example", function()
    local text = examples.read "examples/README.md" .. examples.read "docs/cookbook.md"
    for _, path in ipairs(list("examples", "", {})) do
      local name = path:match "^examples/(.*)$"
      assert.is_truthy(name == "README.md" or text:find(name, 1, true), name .. " is in no list")
    end
  end)

  it("has command lines that are right", function()
    local wrong, seen = {}, 0
    for _, page in ipairs(list("docs", ".md", { START })) do
      local _, shell = split(page)
      for line in (shell:gsub("\\\n%s*", "") .. "\n"):gmatch "([^\n]*)\n" do
        local arguments = line:match "^%l*[$]? ?tidegate (%-L .*)$" or line:match "^%l*[$]? ?%./dev run (%-L .*)$"
        if arguments and not arguments:find "-C " then
          arguments = arguments:gsub("%s+#.*$", ""):gsub("%s+[<>|&].*$", "")
          seen = seen + 1
          for _, problem in ipairs(problems(arguments)) do
            wrong[#wrong + 1] = ("%s: %s: %s"):format(page, arguments, problem)
          end
        end
      end
    end
    assert.same({}, wrong)
    assert.is_true(seen > 40, seen .. " command lines")
  end)
end)
