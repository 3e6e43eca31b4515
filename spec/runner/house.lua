--- Rules of the house that no compiler knows: which way dependencies point, and what a file may
-- hold.  Run from the top of the repository; prints what it finds and exits with 1.

local MAX_WIDTH = 120 -- aim at 100
local MAX_LINES = { c = 900, h = 900, lua = 600 } -- aim at 300 and 150
local RUNTIME_FOLDERS = { vm = true, worker = true, control = true, mailbox = true, embed = true }
local LUA_HEADERS = { ["lua.h"] = true, ["lauxlib.h"] = true, ["lualib.h"] = true }
-- Each has a bounded or checked counterpart.
local UNSAFE = { "strcpy", "strcat", "sprintf", "vsprintf", "gets", "atoi", "atol", "strtok" }
local LEFTOVERS = { "TO" .. "DO", "FIX" .. "ME", "not imple" .. "mented" }

local found = 0

local function complain(path, line, message)
  found = found + 1
  print(("%s:%d: %s"):format(path, line, message))
end

local function may_see_lua(path)
  return path:match("_lua%.[ch]$") or path:match("^native/bind/") or not path:match("^native/")
end

local function check_include(path, number, text)
  local quoted = text:match('^#%s*include%s+"(.-)"')
  local system = text:match("^#%s*include%s+<(.-)>")
  if system and LUA_HEADERS[system] and not may_see_lua(path) then
    complain(path, number, "only *_lua.c and native/bind include " .. system)
  end
  if not quoted then return end
  local folder = quoted:match("^([^/]+)/")
  if not folder and not path:match("^spec/") then
    complain(path, number, 'an include names its folder: "base/error.h"')
  elseif path:match("^native/") and RUNTIME_FOLDERS[folder] then
    complain(path, number, "native/ does not depend on runtime/")
  elseif path:match("^native/base/") and not path:match("_lua%.c$")
    and folder ~= "base" and folder ~= "os" then
    complain(path, number, "native/base depends on native/os and nothing else")
  end
end

local function check_c_line(path, number, text)
  check_include(path, number, text)
  local code = text:gsub('"[^"]*"', '""'):gsub("/%*.-%*/", ""):gsub("//.*", "")
  for _, name in ipairs(UNSAFE) do
    if not path:match("^spec/") and code:match("%f[%w_]" .. name .. "%s*%(") then
      complain(path, number, name .. "() is not used here")
    end
  end
  if path:match("^native/") and code:match("^%s*static%s") and not code:match("%(")
    and not code:match("%f[%w]const%f[%W]") and not code:match("pthread_") and code:match("[;=]") then
    complain(path, number, "native/ keeps no mutable statics")
  end
end

local function check_lua_line(path, number, text)
  local name = text:match("require%s*%(?%s*[\"'](tidegate[%w_.]*)[\"']")
  if not name then return end
  if path:match("^lua/tidegate/policy/") and name:match("^tidegate%.handler") then
    complain(path, number, "a policy does not depend on handlers")
  end
end

local function check_line(path, number, text)
  if #text > MAX_WIDTH then
    complain(path, number, ("%d columns, at most %d"):format(#text, MAX_WIDTH))
  end
  if text:match("%s$") then complain(path, number, "white space at the end") end
  if text:match("\t") then complain(path, number, "a tab") end
  for _, word in ipairs(LEFTOVERS) do
    if text:find(word, 1, true) then complain(path, number, word) end
  end
end

local function check_file(path)
  local kind, number, header = path:match("%.(%w+)$"), 0, false
  for text in io.lines(path) do
    number = number + 1
    check_line(path, number, text)
    if kind == "lua" then
      check_lua_line(path, number, text)
    else
      check_c_line(path, number, text)
      header = header or text == "#pragma once"
    end
  end
  if number > MAX_LINES[kind] and not path:match("^spec/") then
    complain(path, number, ("%d lines, at most %d"):format(number, MAX_LINES[kind]))
  end
  if kind == "h" and not header then complain(path, 1, "no #pragma once") end
end

local pipe = io.popen("find native runtime lua spec examples rocks"
  .. " '(' -name '*.[ch]' -o -name '*.lua' ')' 2>/dev/null | LC_ALL=C sort")
for path in pipe:lines() do check_file(path) end
pipe:close()
os.exit(found == 0 and 0 or 1)
