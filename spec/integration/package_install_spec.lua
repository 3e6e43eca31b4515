-- spec: no-asan, network, timeout=400
-- The Debian package in clean roots of this release and the next: installed, upgraded, used, removed.
-- What a root is made of comes from where this machine has its packages from.

local helpers = require "spec.helpers"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local server = require "spec.helpers.server"
local uv = require "luv"

local NEXT = { bookworm = "trixie" }
local SECONDS = 300

local function release()
  local file = assert(io.open "/etc/os-release")
  local text = file:read "*a"
  file:close()
  return text:match "VERSION_CODENAME=(%w+)"
end

-- @return where this release's packages are from, or nil
local function site()
  local made = programs.run("apt-get",
    { "indextargets", "--format", "$(SITE) $(CODENAME)", "Created-By: Packages", "Origin: Debian" })
  for at, suite in made.stdout:gmatch "(%S+) (%S+)\n" do
    if suite == release() then
      return at
    end
  end
end

-- Why no root can be made here, or nil.
local function obstacle(at)
  if uv.getuid() ~= 0 then
    return "only root makes a root"
  elseif not programs.have "mmdebstrap" then
    return "mmdebstrap is not installed"
  elseif not at then
    return "apt names no archive of Debian"
  end
  local there = programs.run("curl", { "-sfIL", "--max-time", "20", ("%s/dists/%s/Release"):format(at, release()) })
  if there.code ~= 0 then
    return "the archive is out of reach"
  end
end

-- The packages a package depends on, the first of each choice.
local function needs(package)
  local names = {}
  for choice in programs.output("dpkg-deb", { "-f", package, "Depends" }):gmatch "[^,\n]+" do
    names[#names + 1] = choice:match "[%w.+-]+"
  end
  return table.concat(names, ",")
end

-- A program that runs the one of that name in a root.
local function within(root, name)
  local path = programs.file(programs.folder(), name, ('#!/bin/sh\nexec chroot %s %s "$@"\n'):format(root, name))
  uv.fs_chmod(path, 493)
  return path
end

local function serves()
  local target, stop = server.accept(function(s)
    s:write "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
    s:close()
  end)
  local far = proxy.start { "-L", "relay+tls://u:p@127.0.0.1:0" }
  local near = proxy.start { "-L", "auto://127.0.0.1:0", "-F", "relay+tls://u:p@127.0.0.1:" .. far:port(1) }
  assert.equal("hello", programs.output("curl",
    { "-sS", "--noproxy", "", "-x", "socks5h://127.0.0.1:" .. near:port(1), "http://" .. target .. "/" }))
  proxy.stop_all()
  stop()
end

describe("the Debian package in a clean root", function()
  local executable = proxy.executable

  after_each(helpers.task(function()
    proxy.stop_all()
    proxy.executable = executable
    programs.stop_all()
  end))

  for _, suite in ipairs { release(), NEXT[release()] } do
    it("is installed and used on " .. suite, helpers.task(function()
      local at = site()
      local why = obstacle(at)
      if why then
        return pending(why)
      end
      local folder = programs.folder()
      local root = folder .. "/root"
      local package = programs.output("./dev", { "deb", folder }, { seconds = 100 }):match "%S+%.deb"
      programs.output("mmdebstrap",
        { "--mode=root", "--variant=minbase", "--include=" .. needs(package), suite, root, at }, { seconds = SECONDS })
      programs.output("cp", { package, root .. "/tidegate.deb" })

      local function inside(...)
        return programs.output("chroot", { root, ... })
      end
      inside("dpkg", "--install", "/tidegate.deb")
      assert.matches("^install ok installed", inside("dpkg-query", "-W", "-f", "${Status}", "tidegate"))
      assert.equal("root:tidegate 640\n", inside("stat", "-c", "%U:%G %a", "/etc/tidegate/tidegate.yml"))
      inside("tidegate", "check", "-C", "/etc/tidegate/tidegate.yml")
      proxy.executable = within(root, "tidegate")
      serves()

      inside("dpkg", "--install", "/tidegate.deb") -- as an upgrade
      inside("dpkg", "--purge", "tidegate")
      assert.is_nil(uv.fs_stat(root .. "/usr/bin/tidegate"))
      assert.is_nil(uv.fs_stat(root .. "/etc/tidegate"))
    end, SECONDS + 60))
  end
end)
