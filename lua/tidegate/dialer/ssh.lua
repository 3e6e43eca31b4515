-- Many streams over one SSH connection, in channels of gost's own type; sessions to a node are used again.

local component = require "tidegate.component"
local dial = require "tidegate.net.ssh.dial"
local failure = require "tidegate.failure"
local libssh = require "tidegate.native.ssh"
local ssh2 = require "tidegate.native.ssh2"

local OURS = "^SSH%-2%.0%-tidegate_tunnel\r?\n"
local GREETING_MAX = 255

local function peek_line(stream)
  local got = ""
  while #got < GREETING_MAX and not got:find "\n" do
    local more, err = stream:peek(#got + 1)
    if not more then
      return err.code ~= "timeout" and got or nil, err
    end
    got = more
  end
  return got
end

-- What the server says first, "" where it hangs up; it stays to be read.  @return it | nil, err
local function greeting(stream, deadline)
  if libssh.is_plain(stream) then
    return libssh.greeting(stream, deadline)
  end
  stream:set_deadline(deadline)
  local line, err = peek_line(stream)
  stream:set_deadline(nil)
  return line, err
end

-- libssh, which is quicker, opens no channels of gost's type; servers of our kind take another as well.
local function choose(stream, deadline)
  local line, err = greeting(stream, deadline)
  if not line then
    return nil, err.code == "timeout"
      and failure.new("timeout", "the server says nothing; it may be none of SSH, or its transport another") or err
  end
  return line:find(OURS) and libssh or ssh2
end

local function refine(session, err)
  local said = session:last_error()
  if err.code == "refused" and said ~= "" then
    err.message = ("the server refuses the channel (%s); does it have the listener ssh?"):format(said)
  end
  return err
end

return component.dialer "ssh" {
  doc = "many streams over an SSH connection",
  metadata = dial.metadata "none",
  multiplex = true,

  open = function(self)
    self.choose = choose
    return dial.open(self)
  end,

  close = dial.close,

  dial = function(self, ctx, node, _, deadline)
    return dial.channel(self, ctx, node, ctx.via, deadline, function(session)
      local stream, err = session:open_tunnel(deadline)
      return stream, err and refine(session, err)
    end)
  end,
}
