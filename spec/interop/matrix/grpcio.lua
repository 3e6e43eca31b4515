-- Google's gRPC in Python, by a bridge that makes a call of each TCP connection.

local CANNOT = {
  half = { up = "The client's half-close is passed on; the origin's cannot be: in gRPC the server's end is the end of "
    .. "the call." },
}

local function client(secure)
  return function(env)
    local authority, files = env:certificates()
    local p = env:tide("-L", ("tcp+grpc://127.0.0.1:0/%s?%s"):format(env.origin,
      secure and ("certFile=%s&keyFile=%s"):format(files.cert, files.key) or "grpc.insecure=true"))
    local port = env:port()
    env:python("grpc_bridge.py", { "client", port, p:port(1), secure and authority or nil }, port)
    return { tcp = { kind = "tcp", port = port } }
  end
end

local function server(secure)
  return function(env)
    local authority, files = env:certificates()
    local port = env:port()
    env:python("grpc_bridge.py", { "server", port, env.origin_port, secure and files.cert or nil,
      secure and files.key or nil }, port)
    local p = env:tide("-L", "tcp://127.0.0.1:0/x:1", "-F", ("tcp+grpc://localhost:%d?%s"):format(port,
      secure and "secure=true&caFile=" .. authority or "grpc.insecure=true"))
    return { tcp = { kind = "tcp", port = p:port(1) } }
  end
end

return {
  name = "grpcio", about = "The Python package, behind `spec/interop/peers/grpc_bridge.py`.",
  needs = { "python3" }, missing = function()
    return os.execute "/usr/bin/python3 -c 'import grpc' 2>/dev/null" ~= 0 and "not installed" or nil
  end,
  version = { "/usr/bin/python3", "-c", "import grpc; print(grpc.__version__)" },
  pairs = {
    { protocol = "grpc", role = "client", ours = "listener grpc", start = client(false), cannot = CANNOT,
      quick = true },
    { protocol = "grpc", role = "server", ours = "dialer grpc", start = server(false), cannot = CANNOT, quick = true },
    { protocol = "grpc, TLS", role = "client", ours = "listener grpc", start = client(true), cannot = CANNOT },
    { protocol = "grpc, TLS", role = "server", ours = "dialer grpc", start = server(true), cannot = CANNOT },
  },
}
