-- From the configuration's tls objects to contexts, and the default certificate.

local fixture = require "spec.helpers.tls"
local helpers = require "spec.helpers"
local native = require "tidegate.native.tls"
local shared = require "tidegate.native.shared"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"
local tls = require "tidegate.tls"
local uv = require "luv"

local authority = fixture.authority "config"
local one = fixture.certificate(authority, "one.test")

local function files(pair)
  return { certFile = pair.cert, keyFile = pair.key }
end

-- What the client learns of a connection between two contexts | nil, its error
local function meet(server, client, name)
  local a, b = stream.pair()
  local s, c, _, err = fixture.handshake(a, b, server, client, name)
  if not c or not s then
    if c then
      c:close()
    end
    return nil, err
  end
  c:write "x"
  s:read_exact(1)
  s:write "y"
  local ok
  ok, err = c:read_exact(1)
  local info = ok and native.info(c)
  s:close()
  c:close()
  return info, err
end

describe("tls", function()
  it("verifies as much as gost does", helpers.task(function()
    local server = assert(tls.server(files(one)))
    for _, case in ipairs {
      { {}, "other.test", true },
      { nil, "other.test", true },
      { { caFile = authority.cert }, "other.test", true },
      { { caFile = authority.cert, secure = true }, "one.test", true },
      { { caFile = authority.cert, secure = true }, "other.test", false },
      { { caFile = fixture.authority("stranger").cert }, "one.test", false },
      { { secure = true }, "one.test", false },
    } do
      local info, err = meet(server, assert(tls.client(case[1])), case[2])
      assert.equal(case[3], info ~= nil, tostring(err))
    end
  end))

  it("asks clients for certificates when a server has a caFile", helpers.task(function()
    local config = files(one)
    config.caFile = authority.cert
    local server = assert(tls.server(config))
    local certified = assert(tls.client(files(fixture.certificate(authority, "client"))))
    assert.is_truthy(meet(server, certified, "one.test"))
    assert.is_nil(meet(server, assert(tls.client {}), "one.test"))
  end))

  it("reads options", helpers.task(function()
    local config = files(one)
    config.options = {
      minVersion = "versiontls12", maxVersion = "VersionTLS12", alpn = { "h2" },
      cipherSuites = { "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384" },
    }
    local server = assert(tls.server(config, nil, { "http/1.1" }))
    local info = meet(server, assert(tls.client(nil, { "http/1.1", "h2" })), "one.test")
    assert.equal("TLSv1.2", info.version)
    assert.equal("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", info.cipher)
    assert.equal("h2", info.alpn)

    -- no options: the transport's protocols; options without alpn: none
    config.options = nil
    server = assert(tls.server(config, nil, { "http/1.1" }))
    assert.equal("http/1.1", meet(server, assert(tls.client(nil, { "http/1.1" })), "one.test").alpn)
    config.options = { minVersion = "VersionTLS99" }
    server = assert(tls.server(config, nil, { "http/1.1" }))
    assert.is_nil(meet(server, assert(tls.client(nil, { "http/1.1" })), "one.test").alpn)
  end))

  it("refuses unknown server names", helpers.task(function()
    local config = files(one)
    config.rejectUnknownSNI, config.serverNames = true, { "One.Test" }
    local server = assert(tls.server(config))
    assert.is_truthy(meet(server, assert(tls.client()), "one.test"))
    local info, err = meet(server, assert(tls.client()), "two.test")
    assert.is_nil(info)
    assert.matches("internal error", tostring(err))
  end))

  it("takes several certificates", helpers.task(function()
    local two = fixture.certificate(authority, "two.test")
    local server = assert(tls.server {
      certFile = one.cert .. "," .. two.cert,
      keyFile = one.key .. ", " .. two.key,
    })
    assert.equal("two.test", meet(server, assert(tls.client()), "two.test").peer_cn)
    assert.equal("one.test", meet(server, assert(tls.client()), "x.test").peer_cn)
  end))

  it("names what is wrong", function()
    local function problem(config)
      local context, err = tls.server(config)
      assert.is_nil(context)
      assert.equal("config", err.code)
      return tostring(err)
    end
    assert.matches("needs its keyFile", problem { certFile = one.cert })
    assert.matches("needs its certFile", problem { keyFile = one.key })
    assert.matches("1 files in certFile, 2 in keyFile", problem {
      certFile = one.cert, keyFile = one.key .. "," .. one.key,
    })
    assert.matches("cannot read the certificate file /nowhere: No such file",
      problem { certFile = "/nowhere", keyFile = one.key })
  end)

  describe("default certificate", function()
    local home, before, old_home

    before_each(function()
      home = assert(uv.fs_mkdtemp "/tmp/tidegate-tls-XXXXXX")
      before, old_home = uv.cwd(), os.getenv "HOME"
      uv.os_setenv("HOME", home)
      uv.chdir(home)
      shared.dict("tls.default"):clear()
    end)

    after_each(function()
      uv.chdir(before)
      uv.os_setenv("HOME", old_home or "")
      os.execute("rm -rf " .. home)
    end)

    local function common_name(root, config)
      local info = assert(meet(assert(tls.server(config, root)), assert(tls.client()), "x.test"))
      return info.peer_cn, info.peer_fingerprint
    end

    it("is the configuration's", helpers.task(function()
      assert.equal("one.test", (common_name(files(one))))
      assert.equal("one.test", (common_name(files(one), { caFile = authority.cert })))
      local context, err = tls.server(nil, { caFile = authority.cert })
      assert.is_nil(context)
      assert.matches("caFile needs certFile and keyFile", tostring(err))
      assert.is_nil((tls.server(nil, { certFile = "/nowhere", keyFile = "/nowhere" })))
      local root = files(one)
      root.caFile = "/nowhere"
      assert.equal("one.test", (common_name(root)))
    end))

    it("is cert.pem and key.pem where tidegate was started", helpers.task(function()
      local two = fixture.certificate(authority, "here.test")
      os.execute(("cp %s cert.pem; cp %s key.pem"):format(two.cert, two.key))
      assert.equal("here.test", (common_name()))
    end))

    it("is generated once and kept", helpers.task(function()
      local root = { commonName = "mine.test", organization = "Mine", validity = "48h" }
      local name, fingerprint = common_name(root)
      assert.equal("mine.test", name)
      local directory = assert(uv.fs_stat(home .. "/.gost"))
      assert.equal(448, directory.mode % 512)
      assert.equal(420, uv.fs_stat(home .. "/.gost/auto-ca-cert.pem").mode % 512)
      assert.equal(384, uv.fs_stat(home .. "/.gost/auto-ca-key.pem").mode % 512)
      local left = native.seconds_left(home .. "/.gost/auto-ca-cert.pem")
      assert.is_true(left > 47 * 3600 and left <= 48 * 3600)
      shared.dict("tls.default"):clear()
      local _, again = common_name()
      assert.equal(fingerprint, again)
    end))

    it("is in memory when it cannot be kept", helpers.task(function()
      uv.os_setenv("HOME", "/proc/nowhere")
      local name, fingerprint = common_name()
      assert.equal("gost.run", name)
      local _, again = common_name()
      assert.equal(fingerprint, again)
    end))

    it("is made anew when it has expired", helpers.task(function()
      assert.equal("short.test", (common_name { commonName = "short.test", validity = "1s" }))
      shared.dict("tls.default"):clear()
      task.sleep(1.2)
      assert.equal("gost.run", (common_name()))
    end))
  end)
end)
