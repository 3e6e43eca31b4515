-- Python's websockets, by a bridge that makes a WebSocket of each TCP connection.

local CANNOT = { half = "A WebSocket has no half-close; the library closes it when either side ends." }

local function client(scheme, query)
  return function(env)
    local authority, files = env:certificates()
    local secure = scheme == "wss"
    local p = env:tide("-L", ("tcp+%s://127.0.0.1:0/%s?%s%s"):format(scheme, env.origin, query,
      secure and ("&certFile=%s&keyFile=%s"):format(files.cert, files.key) or ""))
    local port = env:port()
    env:python("ws_bridge.py", { "client", port, ("%s://localhost:%d/ws"):format(scheme, p:port(1)),
      secure and authority or nil }, port)
    return { tcp = { kind = "tcp", port = port } }
  end
end

local function server(query)
  return function(env)
    local port = env:port()
    env:python("ws_bridge.py", { "server", port, env.origin_port }, port)
    local p = env:tide("-L", "tcp://127.0.0.1:0/x:1", "-F", ("tcp+ws://127.0.0.1:%d?%s"):format(port, query))
    return { tcp = { kind = "tcp", port = p:port(1) } }
  end
end

return {
  name = "websockets", about = "The Python package, behind `spec/interop/peers/ws_bridge.py`.",
  needs = { "python3" }, missing = function()
    return os.execute "/usr/bin/python3 -c 'import websockets' 2>/dev/null" ~= 0 and "not installed" or nil
  end,
  version = { "/usr/bin/python3", "-c", "import websockets.version as v; print(v.version)" },
  pairs = {
    { protocol = "ws", role = "client", ours = "listener ws", start = client("ws", ""), cannot = CANNOT, quick = true },
    { protocol = "ws", role = "server", ours = "dialer ws", start = server "", cannot = CANNOT, quick = true },
    { protocol = "ws, deflate", role = "client", ours = "listener ws", cannot = CANNOT, quick = true,
      start = client("ws", "enableCompression=true") },
    { protocol = "ws, deflate", role = "server", ours = "dialer ws", cannot = CANNOT, quick = true,
      start = server "enableCompression=true" },
    { protocol = "wss", role = "client", ours = "listener wss", start = client("wss", ""), cannot = CANNOT },
  },
}
