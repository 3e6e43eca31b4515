-- OpenSSH's client and server for specs.

local programs = require "spec.helpers.programs"
local uv = require "luv"

local M = {}

-- Files of keys by name: all specs of a process share them, since making them takes a while.
local made = {}

local function make(folder, name, kind, ...)
  local path = folder .. "/" .. name
  if not made[name] then
    programs.output("ssh-keygen", { "-q", "-t", kind, "-C", name, "-f", path, ... })
    made[name] = { io.open(path):read "*a", io.open(path .. ".pub"):read "*a" }
    return
  end
  programs.file(folder, name, made[name][1])
  uv.fs_chmod(path, 384) -- 0600, or ssh does not take it
  programs.file(folder, name .. ".pub", made[name][2])
end

--- A folder with keys: user, other (ed25519), rsa (passphrase "phrase"), host, and `authorized` for user and rsa.
function M.keys()
  local folder = programs.folder()
  make(folder, "user", "ed25519", "-N", "")
  make(folder, "other", "ed25519", "-N", "")
  make(folder, "rsa", "rsa", "-b", "2048", "-a", "1", "-N", "phrase")
  make(folder, "host", "ed25519", "-N", "")
  programs.file(folder, "authorized", made.user[2] .. made.rsa[2])
  return folder
end

--- Arguments for ssh: who it is, and that it asks nobody.
function M.args(port, options)
  local args = {
    "-F", "none", "-o", "UserKnownHostsFile=" .. (options.known or "/dev/null"),
    "-o", "StrictHostKeyChecking=" .. (options.known and "yes" or "no"),
    "-o", "LogLevel=" .. (options.level or "ERROR"),
    "-o", "IdentitiesOnly=yes", "-p", tostring(port), options.user or "u@127.0.0.1",
  }
  if options.key then
    table.insert(args, 1, options.key)
    table.insert(args, 1, "-i")
  else
    table.insert(args, 1, "PubkeyAuthentication=no")
    table.insert(args, 1, "-o")
  end
  for _, arg in ipairs(options) do
    args[#args + 1] = arg
  end
  return args
end

--- An environment in which ssh takes this for the password.
function M.answering(folder, password)
  local path = programs.file(folder, "ask", ("#!/bin/sh\necho '%s'\n"):format(password))
  programs.output("chmod", { "755", path })
  return { SSH_ASKPASS = path, SSH_ASKPASS_REQUIRE = "force", DISPLAY = ":0" }
end

local SSHD = [[
Port %d
ListenAddress 127.0.0.1
HostKey %s/host
AuthorizedKeysFile %s/authorized
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
AllowTcpForwarding yes
GatewayPorts clientspecified
LogLevel VERBOSE
]]

--- Start OpenSSH's server with these keys.
-- @param more lines of its configuration; those that come first win
-- @return port, server; server:cut() ends it together with its connections, which lead process groups of their own
function M.server(folder, more, port)
  port = port or programs.free_port()
  local config = programs.file(folder, "sshd_config", (more or "") .. SSHD:format(port, folder, folder))
  programs.output("mkdir", { "-p", "/run/sshd" })
  local server = programs.start("/usr/sbin/sshd", { "-D", "-e", "-f", config }, { port = port })
  function server:cut()
    programs.output("pkill", { "-KILL", "-P", tostring(self.pid) })
    return self:stop "sigkill"
  end
  return port, server
end

return M
