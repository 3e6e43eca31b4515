-- Ten of the built-in policies at once, none of which says no.

local tg = require "tidegate"

tg.auther("people", { bench = "bench" })
tg.admission("clients", { matchers = { "192.0.2.0/24", "198.51.100.7" } })
tg.bypass("targets", { matchers = { "*.forbidden.test", ".example.org", "203.0.113.0/24" } })
tg.hosts("names", { mappings = { { ip = "127.0.0.1", hostname = "origin.test" } } })
tg.resolver("servers", { nameservers = { { addr = "udp://127.0.0.1:53" } } })
tg.limiter("bandwidth", { limits = { "$ 100GB 100GB", "$$ 100GB 100GB" } })
tg.climiter("connections", { limits = { "$ 100000", "$$ 100000" } })
tg.rlimiter("requests", { limits = { "$ 10000000", "$$ 10000000" } })
tg.quota("volume", { limit = "900PB", store = { type = "file", file = os.tmpname() } })
tg.recorder("records", { file = { path = "/dev/null" } })

tg.chain("way", {
  { nodes = {
    { name = "a", addr = ":0", connector = "direct", dialer = "direct" },
    { name = "b", addr = ":0", connector = "direct", dialer = "direct" },
  } },
})

tg.service {
  addr = os.getenv "LISTEN",
  admission = "clients",
  bypass = "targets",
  hosts = "names",
  resolver = "servers",
  limiter = "bandwidth",
  climiter = "connections",
  rlimiter = "requests",
  quotas = { "volume" },
  recorders = { { name = "records", record = "recorder.service.handler" } },
  handler = { type = "socks5", chain = "way", auther = "people" },
}
