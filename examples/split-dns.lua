-- Names of the office are asked of the office's name server, all others of the system.
--
--   OFFICE_DNS=10.0.0.53 tidegate -C examples/split-dns.lua

local tg = require "tidegate"

local SERVER = os.getenv "OFFICE_DNS" or "10.0.0.53"
local TYPES = { ip4 = { "A" }, ip6 = { "AAAA" }, ip = { "A", "AAAA" } }

tg.resolver("split", function(ctx, network, host)
  if not host:find "%.office%.test$" then
    return tg.resolve(host)
  end
  for _, record_type in ipairs(TYPES[network]) do
    local answer, err = tg.dns.query { server = SERVER, name = host, type = record_type, timeout = 2 }
    if not answer then
      return nil, err
    end
    local ips = tg.dns.addresses(answer)
    if #ips > 0 then
      ctx.log:debug(("%s is %s"):format(host, table.concat(ips, ", ")))
      return ips
    end
  end
  return nil, host .. " is not known in the office"
end)

tg.service {
  name = "proxy",
  addr = os.getenv "LISTEN" or "127.0.0.1:8080",
  handler = "http",
  resolver = "split",
}
