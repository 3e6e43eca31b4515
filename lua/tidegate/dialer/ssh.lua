-- Many streams over one SSH connection, in channels of gost's own type; sessions to a node are used again.

local component = require "tidegate.component"
local dial = require "tidegate.net.ssh.dial"
local libssh = require "tidegate.native.ssh"
local ssh2 = require "tidegate.native.ssh2"

-- Keys are read again at each login; libssh says now whether they can be.
local function key(text, passphrase)
  local usable, err = libssh.key(text, passphrase)
  return usable and { text = text, passphrase = passphrase }, err
end

local NATIVE = { key = key, client = ssh2.client, layered = true }

local function refine(session, err)
  local said = session:last_error()
  if err.code == "refused" and said ~= "" then
    err.message = ("the server refuses the channel (%s); does it have the listener ssh?"):format(said)
  end
  return err
end

return component.dialer "ssh" {
  doc = "many streams over an SSH connection",
  metadata = dial.metadata(),
  multiplex = true,

  open = function(self)
    return dial.open(self, NATIVE)
  end,

  close = dial.close,

  dial = function(self, ctx, node, _, deadline)
    return dial.channel(self, ctx, node, ctx.via, deadline, function(session)
      local stream, err = session:open(deadline)
      return stream, err and refine(session, err)
    end)
  end,
}
