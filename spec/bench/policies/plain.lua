-- What the scripted policies are measured against: the same service with nothing of its own.

local tg = require "tidegate"

tg.chain("way", {
  { nodes = {
    { name = "a", addr = ":0", connector = "direct", dialer = "direct" },
    { name = "b", addr = ":0", connector = "direct", dialer = "direct" },
  } },
})

tg.service {
  addr = os.getenv "LISTEN",
  handler = { type = "socks5", chain = "way", auth = { username = "bench", password = "bench" } },
}
