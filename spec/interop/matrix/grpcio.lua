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

local CALLS, SERVICE = "grpc_calls.py", [[
services:
- name: web
  addr: 127.0.0.1:0
  handler: {type: tcp, metadata: {sniffing: true}}
  listener: %s
  forwarder: {nodes: [{name: n, addr: "localhost:%d"%s}]}
]]
local LISTENER = "{type: tls, tls: {certFile: %s, keyFile: %s, options: {alpn: [h2, http/1.1]}}}"

-- Calls through the reverse proxy, from one to the other.
local function proxied(secure)
  return function(env)
    local authority, files = env:certificates()
    local port = env:port()
    env:python(CALLS, { "server", port, "one", secure and files.cert or nil, secure and files.key or nil }, port)
    local p = env:serve(env:config("calls.yml", SERVICE, secure and LISTENER:format(files.cert, files.key)
      or "{type: tcp}", port, secure and ", tls: {secure: false}" or ""))
    env.calls = { "client", ("localhost:%d"):format(p:port(1)), "tests", secure and authority or "-", "localhost" }
  end
end

-- A check: what these calls say.
local function says(tests, pattern)
  return function(env)
    local args = { "spec/interop/peers/" .. CALLS, unpack(env.calls) }
    args[4] = tests
    local said = env.output("/usr/bin/python3", args, { seconds = 120 })
    assert(said:find(pattern), said)
  end
end

local CHECKS = {
  small = says("unary,errors", "^cba one True goodbye 3\nDeny PERMISSION_DENIED"),
  bulk = says("large,large,large", "^3145728 True\n3145728 True\n3145728 True\n$"),
  many = says("many", "^True\n$"),
  half = says("client_stream,server_stream,bidi", "^500000\n499500\n20 heard 0 heard 19\n$"),
  abrupt = says("cancel,deadline", "^watching\n1\nwatching\nDEADLINE_EXCEEDED\n1\n$"),
}

return {
  name = "grpcio", about = "The Python package, behind `spec/interop/peers/grpc_bridge.py`; calls as " ..
    "`grpc_calls.py` makes them: " ..
    "64 MiB stands for three answers of 3 MiB, 100 at once for 300, an abrupt end for a call taken back or late.",
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
    { protocol = "calls", role = "client and server", ours = "reverse proxy", start = proxied(false), checks = CHECKS,
      quick = true },
    { protocol = "calls, TLS", role = "client and server", ours = "reverse proxy", start = proxied(true),
      checks = CHECKS },
  },
}
