local cjson = require "cjson"
local format = require "tidegate.process.log.format"
local helpers = require "spec.helpers"
local log = require "tidegate.process.log"
local luv = require "luv"
local programs = require "spec.helpers.programs"

local TIME = "2024-01-02T03:04:05.678+01:00"

local function text_of(fields)
  return format.line("text", TIME, "info", "m", "", fields)
end

local function temporary()
  local folder = programs.folder()
  return folder .. "/sub/x.log", folder
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

local function files_of(folder)
  local names = {}
  local scan = assert(luv.fs_scandir(folder))
  for name in function() return luv.fs_scandir_next(scan) end do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

describe("log text", function()
  for i, case in ipairs {
    { "plain", "plain" },
    { "", '""' },
    { "two words", '"two words"' },
    { "a=b", '"a=b"' },
    { 'say "x"', [["say \"x\""]] },
    { "back\\slash", "back\\slash" },
    { "back\\slash and blank", [["back\\slash and blank"]] },
    { "line\nnext\t\1", [["line\nnext\t\x01"]] },
    { "caf\195\169", "caf\195\169" },
    { "bad\255", [["bad\xff"]] },
    { "[::1]:80", "[::1]:80" },
    { "no\194\160break", [["no\u00a0break"]] },
    { "zero\226\128\139width", [["zero\u200bwidth"]] },
    { "bidi\226\128\174", [["bidi\u202e"]] },
    { "tag\243\160\128\129", [["tag\U000e0001"]] },
    { "\239\187\191bom", [["\ufeffbom"]] },
    { "\227\129\130", "\227\129\130" },
    { "\240\159\140\138", "\240\159\140\138" },
    { "del\127", "del\127" },
    { "del\127 and blank", [["del\x7f and blank"]] },
  } do
    it(("quotes where slog does, case %d"):format(i), function()
      assert.same("time=" .. TIME .. " level=info msg=m k=" .. case[2] .. "\n", text_of { "k", case[1] })
    end)
  end

  it("writes numbers, booleans, durations, maps", function()
    assert.same("time=" .. TIME .. " level=info msg=m n=5 f=0.5 b=true duration=1.5s m=\"map[a:1 b:x]\"\n",
      text_of { "n", 5, "f", 0.5, "b", true, "duration", 1.5, "m", { b = "x", a = 1 } })
  end)
end)

describe("a moment in a record", function()
  local native = require "tidegate.native.logline"

  it("is written as Go's RFC3339Nano", function()
    assert.matches("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.?%d*[Z+-][%d:]*$", native.time(0))
    assert.equal(os.date("%Y-%m-%dT%H", os.time() - 7200), native.time(7200):sub(1, 13))
    assert.equal(os.date("%Y-%m-%dT%H", os.time() + 7200), native.time(-7200):sub(1, 13))
    assert.has_error(function() native.time(1 / 0) end)
  end)
end)

describe("log json", function()
  it("is valid for any bytes", function()
    local nasty = {}
    for byte = 0, 255 do
      nasty[#nasty + 1] = string.char(byte)
    end
    nasty = table.concat(nasty)
    local line = format.line("json", TIME, "warn", nasty, format.fields("json", { "k", nasty }))
    local parsed = cjson.decode(line)
    assert.same(nasty:sub(1, 128), parsed.msg:sub(1, 128))
    assert.same(parsed.msg, parsed.k)
    assert.same("\n", line:sub(-1))
    assert.same(1, select(2, line:gsub("\n", "")))
  end)

  it("keeps the order of keys, and durations in nanoseconds", function()
    local line = format.line("json", TIME, "info", "m", format.fields("json", { "kind", "service" }),
      { "duration", 0.25, "labels", { b = 1, a = { "x", 2 } } })
    assert.same('{"time":"' .. TIME .. '","level":"info","msg":"m","kind":"service",'
      .. '"duration":250000000,"labels":{"a":["x",2],"b":1}}\n', line)
  end)
end)

describe("log time", function()
  it("has milliseconds and a zone", function()
    assert.is_truthy(format.time():find "^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%d[Z+-]")
  end)
end)

describe("loggers", function()
  it("write what their level admits to their file", function()
    local path = temporary()
    local logger = assert(log.new({ output = path, level = "warn", format = "text" }, "mine"))
    logger:info("not this")
    logger:warn("this", { "a", 1, z = "last" })
    logger:error("and this")
    local text = read(path)
    assert.is_nil(text:find("not this", 1, true))
    assert.is_truthy(text:find("level=warn msg=this logger=mine a=1 z=last\n", 1, true))
    assert.is_truthy(text:find("level=error msg=\"and this\" logger=mine\n", 1, true))
    assert.is_false(logger:enabled "info")
    assert.is_true(logger:enabled "error")
  end)

  it("name the caller when they debug", function()
    local path = temporary()
    log.new({ output = path, level = "debug" }):debug "x"
    assert.is_truthy(cjson.decode(read(path)).caller:find "process/log_spec.lua:%d+$")
  end)

  it("keep the place and take the value of a field said twice", function()
    local path = temporary()
    local logger = log.new { output = path, format = "text" }
    logger:with({ "kind", "service", "service", "s" }):with({ "kind", "handler", "x", 1 }):info "m"
    assert.is_truthy(read(path):find("msg=m kind=handler service=s x=1\n", 1, true))
  end)

  it("do so also with the fields of one line", function()
    local path = temporary()
    local one = log.new({ output = path }):with { "kind", "service", "service", "s" }
    one:info("m", { "kind", "script", "x", 1 })
    one:info "n"
    local text = read(path)
    assert.matches('"msg":"m","kind":"script","service":"s","x":1}', text, 1, true)
    assert.matches('"msg":"n","kind":"service","service":"s"}', text, 1, true)
  end)

  it("without an output write nothing", function()
    local logger = log.new { output = "none" }
    assert.is_false(logger:enabled "error")
    logger:error "nobody sees this"
  end)

  for output in pairs { none = 1, null = 1 } do
    it("write nowhere to " .. output, function()
      assert.is_false((log.new { output = output, level = "trace" }):enabled "fatal")
    end)
  end

  -- level as it is said, the least that is written
  for _, row in ipairs {
    { "trace", "trace" }, { "debug", "debug" }, { "info", "info" }, { "warn", "warn" }, { "error", "error" },
    { "fatal", "fatal" }, { nil, "info" }, { "", "info" }, { "loud", "info" },
  } do
    it(("of the level %s"):format(tostring(row[1])), function()
      local logger, least = log.new { output = temporary(), level = row[1] }, nil
      for _, level in ipairs { "trace", "debug", "info", "warn", "error", "fatal" } do
        least = least or logger:enabled(level) and level
      end
      assert.equal(row[2], least)
    end)
  end

  -- format as it is said, how a line begins
  for _, row in ipairs { { nil, "{" }, { "", "{" }, { "json", "{" }, { "yaml", "{" }, { "text", "t" } } do
    it(("of the format %s"):format(tostring(row[1])), function()
      local path = temporary()
      log.new({ output = path, format = row[1] }):info("m", { "duration", 1 })
      assert.equal(row[2], read(path):sub(1, 1))
    end)
  end

  it("fall back to stderr when the file cannot be opened", function()
    local logger, warning = log.new { output = "/proc/nowhere/x.log", level = "fatal" }
    assert.is_truthy(logger)
    assert.is_truthy(tostring(warning):find("/proc/nowhere/x.log", 1, true))
  end)

  it("of a group write each", function()
    local one, two = temporary(), temporary()
    local group = log.group { log.new { output = one, level = "error" }, log.new { output = two } }
    group:with({ "a", 1 }):info "x"
    assert.same("", read(one))
    assert.is_truthy(read(two):find('"msg":"x","a":1', 1, true))
  end)
end)

describe("log rotation", function()
  it("renames full files and keeps as many as it shall", function()
    local path, folder = temporary()
    local logger = log.new { output = path, rotation = { maxSize = 1, maxBackups = 2 } }
    local long = ("x"):rep(300 * 1024)
    for _ = 1, 12 do
      logger:info(long)
    end
    local names = files_of(folder .. "/sub")
    assert.same(4, #names - 0)
    for i = 1, #names - 1 do
      assert.is_truthy(names[i]:find "^x%-%d+%-%d+%-%d+T%d+%-%d+%-%d+%.%d%d%d%.log$", names[i])
    end
    logger.sink.file:tidy()
    assert.same(3, #files_of(folder .. "/sub"))
  end)

  it("removes what is too old, and packs the rest", helpers.task(function()
    local path, folder = temporary()
    local logger = log.new { output = path, rotation = { maxSize = 1, maxAge = 1, compress = true, localTime = true } }
    local function fill()
      for _ = 1, 4 do
        logger:info(("x"):rep(300 * 1024))
      end
    end
    fill()
    local old
    for _, name in ipairs(files_of(folder .. "/sub")) do
      old = name:find "%d" and name or old
    end
    local when = old:match "^x%-(.*)%.%d%d%d%.log$"
    assert.is_true(when == os.date "%Y-%m-%dT%H-%M-%S" or when < os.date "%Y-%m-%dT%H-%M-%S")
    local long_ago = folder .. "/sub/x-2001-02-03T04-05-06.007.log"
    assert(os.rename(folder .. "/sub/" .. old, long_ago))
    luv.fs_utime(long_ago, os.time() - 2 * 86400, os.time() - 2 * 86400)
    fill()
    logger.sink.file:tidy()
    local names = {}
    helpers.eventually(function()
      names = files_of(folder .. "/sub")
      return #names == 2 and (names[1]:find "%.log%.gz$" or names[2]:find "%.log%.gz$")
    end)
    assert.equal(tonumber("600", 8), luv.fs_stat(path).mode % 512)
    for _, name in ipairs(names) do
      assert.is_nil(name:find("2001", 1, true))
    end
  end))

  it("loses no line when two write to one file", function()
    local path, folder = temporary()
    local file = require "tidegate.process.log.file"
    local a = assert(file.open(path, { maxSize = 1 }))
    local b = assert(file.open(path, { maxSize = 1 }))
    local ffi = require "ffi"
    local data = ("y"):rep(400 * 1024)
    for i = 1, 6 do
      local fd = (i % 2 == 0 and a or b):prepare(#data)
      assert.same(#data, tonumber(ffi.C.tidegate_log_write(fd, data, #data)))
      a.checked, b.checked = 0, 0 -- a second has passed
    end
    local total = 0
    for _, name in ipairs(files_of(folder .. "/sub")) do
      local size = luv.fs_stat(folder .. "/sub/" .. name).size
      assert.is_true(size <= 1048576)
      total = total + size
    end
    assert.same(6 * #data, total)
  end)

  it("follows a file that others moved away", function()
    local path = temporary()
    local logger = log.new { output = path }
    logger:info "one"
    assert(os.rename(path, path .. ".moved"))
    logger.sink.file.checked = 0
    logger:info "two"
    assert.is_truthy(read(path .. ".moved"):find("one", 1, true))
    assert.is_truthy(read(path):find("two", 1, true))
  end)
end)
