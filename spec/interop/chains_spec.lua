-- Chains of every length over mixed connectors and dialers.

local helpers = require "spec.helpers"
local origin = require "spec.helpers.origin"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"

local curl = origin.curl

describe("chains", function()
  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
  end))

  -- Every kind of hop in turn: what it listens with, how it is dialed.
  local KINDS = {
    { "http://127.0.0.1:0", "http://127.0.0.1:%d" },
    { "socks5+tls://user:pass@127.0.0.1:0", "socks5+tls://user:pass@127.0.0.1:%d" },
    { "relay://127.0.0.1:0", "relay://127.0.0.1:%d" },
    { "socks4://127.0.0.1:0", "socks4a://127.0.0.1:%d" },
    { "relay+tls://u:p@127.0.0.1:0", "relay+tls://u:p@127.0.0.1:%d" },
    { "http+tls://u:p@[::1]:0", "http+tls://u:p@[::1]:%d" },
    { "socks5://[::1]:0", "socks5://[::1]:%d" },
  }

  for _, length in ipairs { 1, 2, 3, 5 } do
    for start = 1, #KINDS, 2 do
      it(("carry traffic over %d hops from kind %d on"):format(length, start), helpers.task(function()
        local web = origin.nginx()
        local far = {}
        for n = 1, length do
          far[#far + 1] = "-L"
          far[#far + 1] = KINDS[(start + n - 2) % #KINDS + 1][1]
        end
        local others = proxy.start(far)
        local near = { "-L", "auto://127.0.0.1:0" }
        for n = 1, length do
          near[#near + 1] = "-F"
          near[#near + 1] = KINDS[(start + n - 2) % #KINDS + 1][2]:format(others:port(n))
        end
        local p = proxy.start(near)
        for _, target in ipairs { "127.0.0.1", "localhost" } do
          assert.equal(("HTTP/1.1 %s\n"):format(target), curl { "-x", "http://127.0.0.1:" .. p:port(1),
            ("http://%s:%d/whoami"):format(target, web.http) })
          assert.equal(("HTTP/2.0 %s\n"):format(target), curl { "-x", "socks5h://127.0.0.1:" .. p:port(1), "-k",
            ("https://%s:%d/whoami"):format(target, web.https) })
        end
        assert.equal("HTTP/1.1 ::1\n", (curl { "-x", "socks5h://127.0.0.1:" .. p:port(1),
          ("http://[::1]:%d/whoami"):format(web.http) }):gsub("[%[%]]", ""))
      end))
    end
  end
end)
