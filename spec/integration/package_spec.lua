-- spec: no-asan
-- The Debian package: built, unpacked and installed into an empty folder, and the program in it run.

local helpers = require "spec.helpers"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local server = require "spec.helpers.server"
local uv = require "luv"

local function build()
  local folder = programs.folder()
  programs.output("./dev", { "deb", folder }, { seconds = 100 })
  local path = programs.output("sh", { "-c", "ls " .. folder .. "/tidegate_*.deb" }):match "^(%S+)\n$"
  return assert(path, "not one package was built"), folder
end

local function exists(path)
  return uv.fs_stat(path) ~= nil
end

describe("the Debian package", function()
  local executable = proxy.executable

  after_each(helpers.task(function()
    proxy.executable = executable
    proxy.stop_all()
    programs.stop_all()
  end))

  it("depends on what it needs", helpers.task(function()
    local package = build()
    local depends = programs.output("dpkg-deb", { "-f", package, "Depends" })
    for _, name in ipairs {
      "libc6", "libluajit-5.1-2", "libuv1", "libssl3", "libnghttp2-14", "lua-cjson", "lua-yaml",
    } do
      assert.matches(name, depends, 1, true)
    end
    local control = programs.output("dpkg-deb", { "-I", package, "conffiles" })
    assert.equal("/etc/tidegate/tidegate.yml\n", control)
  end))

  it("holds a program that runs, its pages, unit and configuration", helpers.task(function()
    local package, folder = build()
    local root = folder .. "/root"
    programs.output("dpkg-deb", { "-x", package, root })
    for _, path in ipairs {
      "/usr/share/man/man1/tidegate.1.gz", "/usr/share/man/man5/tidegate.yml.5.gz",
      "/usr/share/bash-completion/completions/tidegate", "/usr/share/zsh/vendor-completions/_tidegate",
      "/usr/share/fish/vendor_completions.d/tidegate.fish", "/usr/share/doc/tidegate/copyright",
      "/usr/lib/systemd/system/tidegate.service",
    } do
      assert.is_true(exists(root .. path), path)
    end
    proxy.executable = root .. "/usr/bin/tidegate"
    assert.matches("^tidegate %d", proxy.run({ "-V" }).stdout)
    assert.equal(0, proxy.run({ "check", "-C", root .. "/etc/tidegate/tidegate.yml" }).code)

    local target, stop = server.accept(function(s)
      s:write "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
      s:close()
    end)
    local p = proxy.start { "-L", "auto://127.0.0.1:0" }
    local through = { "-s", "-x", "socks5h://127.0.0.1:" .. p:port(1), "http://" .. target .. "/" }
    assert.equal("hello", programs.output("curl", through))
    stop()
  end))

  it("is installed and removed, and keeps a configuration that was edited", helpers.task(function()
    if uv.getuid() ~= 0 then
      return pending "dpkg installs as root only"
    end
    local package, folder = build()
    local root = folder .. "/root"
    programs.output("sh", { "-c", ("mkdir -p %s/var/lib/dpkg/info %s/var/lib/dpkg/updates %s/var/lib/dpkg/triggers "
      .. "&& touch %s/var/lib/dpkg/status"):format(root, root, root, root) })
    local function dpkg(...)
      return programs.output("dpkg", { "--root=" .. root, "--force-depends", "--force-script-chrootless",
        "--force-not-root", "--force-confold", "--log=/dev/null", ... })
    end
    dpkg("--install", package)
    assert.matches("^tidegate %d", programs.output(root .. "/usr/bin/tidegate", { "-V" }))
    programs.file(root .. "/etc/tidegate", "tidegate.yml", "services: []\n")
    dpkg("--install", package)
    dpkg("--remove", "tidegate")
    assert.is_false(exists(root .. "/usr/bin/tidegate"))
    assert.is_true(exists(root .. "/etc/tidegate/tidegate.yml"))
    dpkg("--purge", "tidegate")
    assert.is_false(exists(root .. "/etc/tidegate/tidegate.yml"))
  end))

  it("has a unit that systemd understands", helpers.task(function()
    if not programs.have "systemd-analyze" then
      return pending "systemd-analyze is not installed"
    end
    local folder = programs.folder()
    local file = assert(io.open "runtime/packaging/systemd/tidegate.service")
    local text = file:read("*a"):gsub("/usr/bin/tidegate", "/bin/true"):gsub("Documentation=[^\n]*\n", "")
    file:close()
    local made = programs.run("systemd-analyze", { "verify", programs.file(folder, "tidegate.service", text) })
    assert.not_matches("tidegate.service:", made.stdout .. made.stderr, 1, true)
  end))

  it("has scripts that are sound", helpers.task(function()
    for _, name in ipairs { "postinst", "prerm", "postrm" } do
      programs.output("sh", { "-n", "runtime/packaging/debian/" .. name })
    end
  end))
end)
