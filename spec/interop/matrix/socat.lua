-- socat: whoever connects to it gets a tidegate at its standard input and output.

local proxy = require "spec.helpers.proxy"

local function executed(env)
  local port = env:port()
  env:start("socat", { ("TCP4-LISTEN:%d,bind=127.0.0.1,fork,reuseaddr,backlog=128"):format(port),
    ("EXEC:%s --workers 1 -L stdio\\://%s"):format(proxy.executable, (env.origin:gsub(":", "\\:"))) }, port)
  return { tcp = { kind = "tcp", port = port } }
end

return {
  name = "socat", needs = { "socat" }, version = { "socat", "-V", pattern = "socat version (%S+)" },
  pairs = {
    { protocol = "stdio", role = "starts it", ours = "listener stdio", start = executed, quick = true },
  },
}
