-- The origins the main-job specs talk to: nginx with plain, TLS and HTTP/2 ports that serves and stores
-- files; dnsmasq with a known name.

local listener = require "tidegate.native.listener"
local programs = require "spec.helpers.programs"

local M = {}

local NGINX = [[
daemon off;
worker_processes 1;
pid %(folder)s/nginx.pid;
error_log stderr warn;
events { worker_connections 4096; }
http {
  access_log off;
  client_max_body_size 0;
  client_body_temp_path %(folder)s/body;
  proxy_temp_path %(folder)s/t1;
  fastcgi_temp_path %(folder)s/t2;
  uwsgi_temp_path %(folder)s/t3;
  scgi_temp_path %(folder)s/t4;
  types { text/html html; }
  default_type application/octet-stream;
  server {
    listen 127.0.0.1:%(http)d backlog=2048;
    listen [::1]:%(http)d;
    listen 127.0.0.1:%(https)d ssl http2 backlog=2048;
    server_name localhost;
    ssl_certificate %(folder)s/cert.pem;
    ssl_certificate_key %(folder)s/key.pem;
    root %(folder)s/www;
    location /up/ { dav_methods PUT; create_full_put_path on; }
    location = /whoami { return 200 "$server_protocol $host\n"; }
    location = /headers { return 200 "via=$http_via agent=$http_user_agent auth=$http_proxy_authorization\n"; }
  }
}
]]

local function fill(template, values)
  return (template:gsub("%%%((%w+)%)[sd]", values))
end

--- Start nginx.  @return { folder, www, http = port, https = port, server }
function M.nginx()
  local self = { folder = programs.folder(), http = programs.free_port(), https = programs.free_port() }
  self.www = self.folder .. "/www"
  programs.output("mkdir", { "-p", self.www .. "/up" })
  programs.output("openssl", {
    "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
    "-keyout", self.folder .. "/key.pem", "-out", self.folder .. "/cert.pem",
  })
  programs.output("chmod", { "-R", "a+rwX", self.folder })
  local config = programs.file(self.folder, "nginx.conf", fill(NGINX, self))
  programs.file(self.www, "hello.html", "<html><title>hi</title><body>hello from the origin</body></html>")
  self.server = programs.start("nginx", { "-c", config, "-e", "stderr", "-p", self.folder }, { port = self.http })
  programs.wait_port(self.https, self.server)
  return self
end

local function is_free(port)
  local fds = listener.open("127.0.0.1:" .. port, "stream", 1)
  if fds then
    listener.close_fd(fds[1])
  end
  return fds ~= nil
end

--- Start dnsmasq, which knows that tidegate.test is 192.0.2.33.
-- @param names further ones: name → address  @return port
function M.dnsmasq(names)
  local port
  repeat -- it listens on both
    port = programs.free_port "datagram"
  until is_free(port)
  local args = {
    "--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--bind-interfaces",
    "--listen-address=127.0.0.1", "--port=" .. port, "--address=/tidegate.test/192.0.2.33", "--user=" ..
    (os.getenv "USER" or "root"), "--pid-file=",
  }
  for name, address in pairs(names or {}) do
    args[#args + 1] = ("--address=/%s/%s"):format(name, address)
  end
  programs.start("dnsmasq", args, { port = port })
  return port
end

--- Run curl, past whatever proxy the environment names.  @return what it printed
function M.curl(args)
  return programs.output("curl", { "-sS", "--fail", "--max-time", "120", "--noproxy", "", unpack(args) },
    { seconds = 130 })
end

return M
