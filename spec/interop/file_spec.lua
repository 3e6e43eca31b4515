-- The file handler, with curl as the client.

local helpers = require "spec.helpers"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local BIG = ("0123456789abcdef"):rep(524288) -- 8 MiB

describe("file", function()
  local folder, p, base

  local function start(query, scheme)
    p = proxy.start { "-L", ("%s://127.0.0.1:0?dir=%s%s"):format(scheme or "file", folder, query or "") }
    base = ("http%s://127.0.0.1:%d"):format(scheme and "s" or "", p:port(1))
  end

  before_each(helpers.task(function()
    local outer = programs.folder()
    folder = outer .. "/root"
    os.execute(("mkdir -p '%s/sub dir' '%s/site'"):format(folder, folder))
    programs.file(outer, "secret.txt", "secret")
    programs.file(folder, "a.txt", "hello world")
    programs.file(folder, "big.bin", BIG)
    programs.file(folder, "empty", "")
    programs.file(folder .. "/sub dir", "<&>.txt", "odd")
    programs.file(folder .. "/site", "index.html", "<p>index")
    os.execute(("ln -s ../secret.txt '%s/link'; ln -s a.txt '%s/good'; ln -s / '%s/all'; mkfifo '%s/pipe'"):format(
      folder, folder, folder, folder))
  end))

  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  -- @return status, body, headers
  local function curl(path, ...)
    local out = folder .. "/../out"
    os.remove(out)
    local args = { "-sS", "-k", "--path-as-is", "-m", "20", "-o", out, "-D", "-", ... }
    args[#args + 1] = base .. path
    local answer = programs.output("curl", args)
    local f = io.open(out, "rb")
    local bytes = f and f:read "*a" or ""
    if f then
      f:close()
    end
    local status
    for code in answer:gmatch "HTTP/1.1 (%d+)" do
      status = tonumber(code)
    end
    return status, bytes, answer
  end

  it("serves files, whole and in parts", helpers.task(function()
    start()
    local status, bytes, answer = curl "/a.txt"
    assert.equal(200, status)
    assert.equal("hello world", bytes)
    assert.truthy(answer:find("Content-Type: text/plain; charset=utf-8\r\n", 1, true))
    status, bytes = curl "/big.bin"
    assert.equal(200, status)
    assert.is_true(bytes == BIG)
    for _, one in ipairs {
      { "0-4", 206, "hello" }, { "6-", 206, "world" }, { "-3", 206, "rld" }, { "10-99", 206, "d" },
      { "11-", 416 }, { "-0", 416 }, { "5-2", 200, "hello world" }, { "0-1,3-4", 200, "hello world" },
      { "-99", 206, "hello world" },
    } do
      status, bytes, answer = curl("/a.txt", "-r", one[1])
      assert.equal(one[2], status, one[1])
      assert.equal(one[3] or bytes, bytes, one[1])
    end
    assert.truthy(answer:find("Content-Range: bytes 0-10/11", 1, true))
    status, bytes = curl("/big.bin", "-r", "8000000-")
    assert.equal(206, status)
    assert.is_true(bytes == BIG:sub(8000001))
    status, bytes = curl "/empty"
    assert.equal(200, status)
    assert.equal("", bytes)
    status, bytes, answer = curl("/a.txt", "-I")
    assert.equal(200, status)
    assert.truthy(answer:find("Content-Length: 11", 1, true))
    assert.equal(404, (curl "/no"))
    assert.equal(405, (curl("/a.txt", "-X", "DELETE")))
    assert.equal(405, (curl("/a.txt", "-T", folder .. "/a.txt")))
    assert.equal(404, (curl "/pipe"))
  end))

  it("honours conditions", helpers.task(function()
    start()
    local _, _, answer = curl "/a.txt"
    local tag, date = answer:match 'ETag: ("[^"]+")', answer:match "Last%-Modified: ([^\r]+)"
    for _, one in ipairs {
      { "If-None-Match: " .. tag, 304 }, { "If-None-Match: *", 304 }, { "If-None-Match: W/" .. tag, 304 },
      { 'If-None-Match: "x", ' .. tag, 304 }, { 'If-None-Match: "x"', 200 },
      { "If-Modified-Since: " .. date, 304 }, { "If-Modified-Since: Mon, 01 Jan 2001 00:00:00 GMT", 200 },
      { "If-Modified-Since: nonsense", 200 }, { "If-Match: " .. tag, 200 }, { 'If-Match: "x"', 412 },
      { "If-Unmodified-Since: Mon, 01 Jan 2001 00:00:00 GMT", 412 }, { "If-Unmodified-Since: " .. date, 200 },
    } do
      assert.equal(one[2], (curl("/a.txt", "-H", one[1])), one[1])
    end
    assert.equal(206, (curl("/a.txt", "-r", "0-1", "-H", "If-Range: " .. tag)))
    assert.equal(200, (curl("/a.txt", "-r", "0-1", "-H", 'If-Range: "x"')))
    assert.equal(206, (curl("/a.txt", "-r", "0-1", "-H", "If-Range: " .. date)))
  end))

  it("lists folders", helpers.task(function()
    start()
    local status, bytes = curl "/"
    assert.equal(200, status)
    assert.truthy(bytes:find('<a href="sub%20dir/">sub dir/</a>', 1, true), bytes)
    status, bytes = curl "/sub%20dir/"
    assert.equal(200, status)
    assert.truthy(bytes:find('<a href="%3C&amp;%3E.txt">&lt;&amp;&gt;.txt</a>', 1, true), bytes)
    status, bytes = curl "/sub%20dir/%3C&%3E.txt"
    assert.equal(200, status)
    assert.equal("odd", bytes)
    status, bytes = curl "/site/"
    assert.equal("<p>index", bytes)
    status, bytes = curl("/sub%20dir?x=1", "-L")
    assert.equal(200, status)
    assert.equal(200, (curl("/site/index.html", "-L")))
    assert.equal(200, (curl("/a.txt/", "-L")))
  end))

  it("lets no path lead out", helpers.task(function()
    start "&put=true"
    for _, path in ipairs {
      "/../secret.txt", "/..%2fsecret.txt", "/%2e%2e/secret.txt", "/sub%20dir/../../secret.txt", "/link",
      "/all/etc/passwd", "//etc/passwd", "/.%2e/secret.txt", "/a%00.txt", "/%zz", "/all/", "/..\\secret.txt",
      "/....//secret.txt", "/all",
    } do
      local status, bytes = curl(path)
      assert.truthy(status >= 400, path .. " " .. status)
      assert.is_nil(bytes:find "secret\n?$", path)
      assert.is_nil(bytes:find("root:", 1, true), path)
      status = curl(path, "-T", folder .. "/a.txt")
      assert.truthy(status >= 400 or path == "/link" or path == "//etc/passwd" or path:find "\\" or path == "/all",
        path .. " " .. status)
    end
    local f = assert(io.open(folder .. "/../secret.txt"))
    assert.equal("secret", f:read "*a")
    f:close()
    assert.equal(200, (curl "/good")) -- links within are links
  end))

  it("takes uploads where they are allowed", helpers.task(function()
    start "&put=true"
    assert.equal(201, (curl("/new.bin", "-T", folder .. "/big.bin")))
    local _, bytes = curl "/new.bin"
    assert.is_true(bytes == BIG)
    assert.equal(201, (curl("/new.bin", "-T", folder .. "/a.txt", "-H", "Transfer-Encoding: chunked")))
    _, bytes = curl "/new.bin"
    assert.equal("hello world", bytes)
    assert.equal(404, (curl("/nowhere/x", "-T", folder .. "/a.txt")))
    assert.equal(400, (curl("/x/", "-X", "PUT", "-d", "abc")))

    local s = assert(stream.dial("127.0.0.1:" .. p:port(1))) -- one that breaks off leaves nothing behind
    s:write "PUT /half HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf"
    task.sleep(0.05)
    s:close()
    helpers.eventually(function()
      _, bytes = curl "/"
      return not bytes:find("upload-", 1, true)
    end)
    assert.is_nil(bytes:find("half", 1, true))
  end))

  it("asks for a password", helpers.task(function()
    p = proxy.start { "-L", "file://user:pass@127.0.0.1:0?dir=" .. folder }
    base = "http://127.0.0.1:" .. p:port(1)
    local status, _, answer = curl "/a.txt"
    assert.equal(401, status)
    assert.truthy(answer:find('WWW-Authenticate: Basic realm="gost"', 1, true))
    assert.equal(401, (curl("/a.txt", "-u", "user:wrong")))
    assert.equal(200, (curl("/a.txt", "-u", "user:pass")))
  end))

  it("serves over TLS, many requests on a connection, and refuses nonsense", helpers.task(function()
    start(nil, "file+tls")
    assert.equal(200, (curl "/a.txt"))
    local status, bytes = curl "/big.bin"
    assert.equal(200, status)
    assert.is_true(bytes == BIG)

    start()
    local s = assert(stream.dial("127.0.0.1:" .. p:port(1)))
    s:set_deadline(task.now() + 20000)
    for _ = 1, 3 do
      s:write "GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n"
      assert.truthy(s:read_until("\r\n\r\n", 2000):find "^HTTP/1.1 200 OK")
      assert.equal("hello world", s:read_exact(11))
    end
    s:write "nonsense\r\n\r\n"
    assert.truthy(s:read():find "^HTTP/1.1 400 ")
    s:close()
  end))

  it("does not start without its folder", helpers.task(function()
    local result = proxy.run { "-L", "file://127.0.0.1:0?dir=/no/such/folder" }
    assert.not_equal(0, result.code)
    assert.truthy((result.stdout .. result.stderr):find("/no/such/folder", 1, true))
  end))
end)
