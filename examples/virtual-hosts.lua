-- One port for many web servers: each connection goes where its Host header says, and names that
-- are not in the table are refused.  Run it with:  tidegate -C examples/virtual-hosts.lua
local tg = require "tidegate"

local HOSTS = { -- host → targets, which take turns
  ["app.test"] = { "127.0.0.1:9001", "127.0.0.1:9002" },
  ["api.test"] = { "127.0.0.1:9003" },
}
local UNKNOWN = "HTTP/1.1 421 Misdirected Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

tg.handler "virtual-hosts" {
  metadata = { readTimeout = { type = "duration", default = 10 } },

  handle = function(self, ctx, stream)
    stream:set_deadline(ctx:after(self.md.readTimeout))
    local head, err = stream:read_until("\r\n\r\n", 16384)
    if not head then
      return nil, err:during "head"
    end
    local host = head:lower():match "\r\nhost:[ \t]*([^\r\n: ]+)"
    local targets = HOSTS[host]
    if not targets then
      stream:write(UNKNOWN)
      return nil, tg.failure("blocked", "no such host: " .. tostring(host))
    end

    local turn = tg.ticket("turn of " .. host):next() -- one for all workers
    local upstream
    upstream, err = ctx:connect("tcp", targets[turn % #targets + 1])
    if not upstream then
      return nil, err
    end
    stream:unread(head)
    stream:set_deadline(nil)
    return ctx:relay(stream, upstream)
  end,
}

tg.service { addr = os.getenv "LISTEN" or ":8080", handler = "virtual-hosts" }
