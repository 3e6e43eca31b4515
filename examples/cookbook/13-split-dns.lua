local tg = require "tidegate"

tg.resolver("office", { nameservers = { { addr = "10.0.0.53" } } })
tg.resolver("outside", { nameservers = { { addr = "https://cloudflare-dns.com/dns-query", async = true } } })

tg.resolver("split", function(_, _, host)
  return tg.resolve(host, { resolver = host:find "%.office%.test$" and "office" or "outside" })
end)

tg.service { addr = "127.0.0.1:8080", handler = "auto", resolver = "split" }
