-- A bypass, a selector and an auther, all of them functions.

local tg = require "tidegate"

tg.auther("people", function(user, password)
  return user == "bench" and password == "bench"
end)

tg.bypass("lists", function(_, _, address)
  return address:find("forbidden", 1, true) ~= nil
end)

local turn = 0
tg.selector("alternate", function(items)
  turn = turn + 1
  return items[turn % #items + 1]
end)

tg.chain("way", {
  { selector = { strategy = "alternate" }, nodes = {
    { name = "a", addr = ":0", connector = "direct", dialer = "direct" },
    { name = "b", addr = ":0", connector = "direct", dialer = "direct" },
  } },
})

tg.service {
  addr = os.getenv "LISTEN",
  bypass = "lists",
  handler = { type = "socks5", chain = "way", auther = "people" },
}
