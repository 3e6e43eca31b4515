-- OpenSSH's client and server for specs.

local programs = require "spec.helpers.programs"

local M = {}

--- A folder with keys: user, other (ed25519), rsa (passphrase "phrase"), host, and `authorized` for user and rsa.
-- @param few true: no rsa, which takes a while to make
function M.keys(few)
  local folder = programs.folder()
  local function make(name, kind, phrase)
    programs.output("ssh-keygen", { "-q", "-t", kind, "-N", phrase, "-C", name, "-f", folder .. "/" .. name })
  end
  make("user", "ed25519", "")
  make("other", "ed25519", "")
  if few then
    programs.file(folder, "rsa.pub", "")
  else
    make("rsa", "rsa", "phrase")
  end
  make("host", "ed25519", "")
  programs.output("sh", { "-c", ("cd %s && cat user.pub rsa.pub > authorized"):format(folder) })
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
-- @return port, server
function M.server(folder, more, port)
  port = port or programs.free_port()
  local config = programs.file(folder, "sshd_config", (more or "") .. SSHD:format(port, folder, folder))
  programs.output("mkdir", { "-p", "/run/sshd" })
  return port, programs.start("/usr/sbin/sshd", { "-D", "-e", "-f", config }, { port = port })
end

return M
