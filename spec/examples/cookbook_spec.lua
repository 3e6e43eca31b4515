-- The recipes of docs/cookbook.md, carried out as the page says.

local cookbook = require "spec.helpers.cookbook"
local examples = require "spec.helpers.examples"
local helpers = require "spec.helpers"
local origin = require "spec.helpers.origin"
local mmdb = require "spec.helpers.mmdb"
local plane = require "spec.helpers.plane"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local ssh = require "spec.helpers.ssh"
local server = require "spec.helpers.server"
local tls = require "spec.helpers.tls"
local uv = require "luv"

local NGINX = [[
daemon off;
pid %s/nginx.pid;
events {}
http {
  access_log off;
  include examples/cookbook/06-nginx.conf;
}
]]

local SSH = [[
IdentityFile %s/.ssh/id_ed25519
StrictHostKeyChecking no
UserKnownHostsFile /dev/null
LogLevel ERROR
BatchMode yes
Host host.internal
  HostName 127.0.0.1
  Port %d
]]

local function can_filter()
  return uv.getuid() == 0 and programs.have "nft" and programs.have "unshare"
    and programs.run("unshare", { "-n", "sh", "-c", "ip link set lo up && nft list ruleset" }).code == 0
end

-- A web server over TLS that says this.  @return address
local function says(text)
  local web = origin.nginx()
  programs.file(web.www, "index.html", text .. "\n")
  return "127.0.0.1:" .. web.https
end

-- What each recipe needs beside what it starts itself, by its number:
--   possible()      whether this machine allows it
--   prepare(web)    starts what stands for the rest of the world; returns what stands for what, and k.more
--   patient         answers may come to what the page says in a while
--   before, after   functions of the kitchen called around steps, by their number
--   check(k)        what else must be true in the end
local entries = {
  [4] = {
    check = function(k)
      k.started[3]:logged(("near@127.0.0.1:%d > far@127.0.0.1:%d > "):format(k:port(1080), k:port(3128)), true)
    end,
  },
  [6] = {
    before = { function(k)
      k:sh(("cp %s/cert.pem server.pem; cp %s/key.pem server.key"):format(k.web.folder, k.web.folder))
      programs.file(k.folder, "nginx.conf", NGINX:format(k.folder))
      programs.start("nginx", { "-c", k.folder .. "/nginx.conf", "-e", "stderr", "-p", k.folder },
        { port = k:port(8443) })
    end },
  },
  [7] = {
    prepare = function()
      return { { "10.0.0.5:443", says "the wiki" }, { "10.0.0.6:443", says "the shop" } }
    end,
  },
  [9] = { patient = true },
  [11] = {
    possible = can_filter,
    prepare = function() -- the server is in the same namespace, where the filter meets it as well
      return { { "http://example.com/", "http://198.51.100.1:80/" }, { ":1080 &", ":1080?so_mark=7 &", true } }
    end,
    before = { function(k)
      local holder = programs.start("unshare", { "-n", "sh", "-c", "ip link set lo up; "
        .. "ip addr add 198.51.100.1/32 dev lo; echo ready; exec python3 -m http.server 80 --bind 198.51.100.1" },
        { ready = "ready", cwd = k.web.www })
      k.inside = ("nsenter --net=/proc/%d/ns/net "):format(holder.pid)
      k:eventually(function()
        return k:run("curl -s http://198.51.100.1/") == "hello"
      end, "no web server in the namespace")
    end },
    check = function(k)
      k.started[1]:logged("198.51.100.1:80", true)
      k.started[2]:logged(("gate@127.0.0.1:%d > 198.51.100.1:80"):format(k:port(1080)), true)
    end,
  },
  [12] = {
    prepare = function(web)
      local folder = programs.folder()
      local dns = origin.dnsmasq { ["direct.test"] = "127.0.0.1", ["example.com"] = "127.0.0.3" }
      proxy.start { "-L", ("tcp://127.0.0.3:%d/127.0.0.1:%d"):format(web.http, web.http) }
      return {
        { "http://example.com/", ("http://example.com:%d/"):format(web.http) },
        { "http://www.direct.test/", ("http://www.direct.test:%d/"):format(web.http) },
        { "udp://127.0.0.1:53", "udp://127.0.0.1:" .. dns },
        { "geoip:private", "192.168.0.0/16" },
        { "/var/lib/GeoIP/GeoLite2-Country.mmdb", mmdb.write(folder .. "/c.mmdb", mmdb.countries {
          { "192.0.2.0/24", "DE" }, { "127.0.0.0/8", "FR" } }) },
        { "/var/lib/GeoIP/GeoLite2-ASN.mmdb", mmdb.write(folder .. "/a.mmdb", mmdb.systems {
          { "127.0.0.0/8", 64501 } }) },
        { "/etc/tidegate/direct-domains.txt", programs.file(folder, "list", "listed.test\n") },
      }
    end,
  },
  [13] = {
    prepare = function(web)
      local authority = tls.authority "cookbook"
      local certificate = tls.certificate(authority, "localhost")
      local doh = programs.start("/usr/bin/python3", { "spec/interop/peers/doh_server.py", certificate.cert,
        certificate.key, "example.com", "127.0.0.1" }, { ready = "ready %d+" })
      local office = origin.dnsmasq { ["wiki.office.test"] = "127.0.0.1" }
      local function at(name)
        return { ("http://%s/"):format(name), ("http://%s:%d/"):format(name, web.http) }
      end
      return {
        at "example.com", at "wiki.office.test", at "nobody.office.test", { "10.0.0.53", "127.0.0.1:" .. office },
        { "https://cloudflare-dns.com/dns-query", ("https://localhost:%s/dns-query"):format(
          doh.stdout:match "ready (%d+)") },
      }, { authority = authority.cert }
    end,
    before = { function(k)
      k.env.SSL_CERT_FILE = k.more.authority
    end },
  },
  [14] = {
    patient = true,
    prepare = function()
      return { { "interval: 1s", "interval: 200ms" }, { "sleep 2", "sleep 0.4" } }
    end,
  },
  [15] = {
    patient = true,
    prepare = function()
      local more = {}
      local function probed(name)
        local address
        address, more[name] = server.accept(function(s)
          s:close()
        end)
        return address
      end
      local web = plane.accept(function(s)
        local from = s:remote_address():match "^(.*):%d+$"
        s:read_until("\r\n\r\n", 4096)
        s:write(("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"):format(#from, from))
        s:close()
      end)
      return {
        { "eth0 down", "" }, { "sudo ip link set", "true" }, { "eth0", "127.0.0.2" }, { "wwan0", "127.0.0.3" },
        { "203.0.113.5", "127.0.0.2" }, { "198.51.100.9", "127.0.0.3" }, { "http://ifconfig.me/ip", "http://" .. web },
        { "1.1.1.1:443", probed "fibre" }, { "9.9.9.9:443", probed "mobile" },
      }, more
    end,
    before = { [3] = function(k)
      k.more.fibre()
    end },
    check = function(k)
      k.more.mobile()
    end,
  },
  [10] = {
    prepare = function()
      local keys = ssh.keys()
      local port = ssh.server(keys)
      return { { "host.internal:22", "127.0.0.1:" .. port } }, { keys = keys, port = port }
    end,
    before = { function(k)
      local keys = k.more.keys
      k:sh(("mkdir .ssh; cp %s/user .ssh/id_ed25519; cp %s/user.pub .ssh/id_ed25519.pub"):format(keys, keys))
      programs.file(k.folder, "ssh_config", SSH:format(k.folder, k.more.port))
      programs.file(k.folder, "bin/ssh", ("#!/bin/sh\nexec /usr/bin/ssh -F '%s/ssh_config' \"$@\"\n"):format(k.folder))
      k:sh "chmod +x bin/ssh"
    end },
  },
  [16] = {
    patient = true,
    after = { [5] = function(k)
      assert.is_true(tonumber(k.printed:match " (.*)") > 1.5, "three megabytes at one a second, the first at once")
    end },
  },
  [19] = { patient = true },
  [21] = { patient = true },
  [22] = { patient = true },
  [24] = {
    patient = true,
    prepare = function()
      return { { "scrape_interval: 15s", "scrape_interval: 300ms" } }
    end,
  },
  [25] = { patient = true },
  [26] = {
    patient = true,
    check = function(k)
      local exits = select(2, k.started[1]:log():gsub(" <%-> ", ""))
      assert.equal(5, exits)
      assert.matches("name: second", examples.read(k.folder .. "/examples/cookbook/26-api.yml"), 1, true)
    end,
  },
  [27] = {
    patient = true,
    before = { [7] = function(k)
      local pid = k.started[2].process.pid
      programs.file(k.folder, "bin/pidof", ("#!/bin/sh\necho %d\n"):format(pid)) -- there are others on this machine
      k:sh "chmod +x bin/pidof"
    end },
    check = function(k)
      k.started[2]:logged("upgrade: ", true)
    end,
  },
  [29] = { patient = true },
  [31] = {
    possible = function()
      return programs.have "systemd-socket-activate"
    end,
  },
}

-- nginx in the place of http://example.com/ and https://example.com/, dnsmasq in that of 1.1.1.1.
local function world(recipe)
  local web = origin.nginx()
  programs.file(web.www, "index.html", "hello\n")
  local replace = {
    { "http://example.com/", ("http://127.0.0.1:%d/"):format(web.http) },
    { "https://example.com/", ("https://localhost:%d/"):format(web.https) },
    { "example.com:80", "127.0.0.1:" .. web.http },
    { "server.example", "127.0.0.1" },
  }
  if recipe:mentions "1.1.1.1:53" then
    replace[#replace + 1] = { "1.1.1.1:53", "127.0.0.1:" .. origin.dnsmasq { ["example.com"] = "192.0.2.33" } }
  end
  return web, replace
end

describe("the cookbook", function()
  local recipes = cookbook.recipes()

  after_each(helpers.task(function()
    proxy.stop_all()
    programs.stop_all()
    plane.cleanup()
  end))

  it("quotes its files as they are, and all of them", function()
    local quoted = {}
    for i, recipe in ipairs(recipes) do
      assert.equal(i, recipe.number, recipe.title)
      for _, file in ipairs(recipe.files) do
        assert.equal(examples.read(file.path), file.text, "docs/cookbook.md does not quote what is in " .. file.path)
        quoted[file.path] = true
      end
    end
    local scan = assert(uv.fs_scandir "examples/cookbook")
    local name = uv.fs_scandir_next(scan)
    while name do
      assert.is_true(quoted["examples/cookbook/" .. name], name .. " is in no recipe")
      name = uv.fs_scandir_next(scan)
    end
  end)

  for _, recipe in ipairs(recipes) do
    local entry = entries[recipe.number] or {}
    it(("%d. %s"):format(recipe.number, recipe.title), helpers.task(function()
      if entry.possible and not entry.possible() then
        return pending "this machine does not allow it"
      end
      local web, replace = world(recipe)
      local pairs_of_entry, more
      if entry.prepare then
        pairs_of_entry, more = entry.prepare(web)
        for _, pair in ipairs(pairs_of_entry) do
          table.insert(replace, 1, pair)
        end
      end
      local k = cookbook.kitchen(recipe, replace)
      k.web, k.more, k.patient = web, more, entry.patient
      k.env.CURL_CA_BUNDLE, k.env.SSL_CERT_FILE = web.folder .. "/cert.pem", web.folder .. "/cert.pem"
      k:cook(entry)
      if entry.check then
        entry.check(k)
      end
    end))
  end
end)
