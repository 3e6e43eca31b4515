local mask = require "tidegate.config.mask"

describe("config.mask", function()
  it("hides what nobody else should know, at any depth", function()
    local status = { used = 1 }
    local service = {
      name = "s", addr = "http://ann:pw@x:1/?token=abc&x=1",
      handler = {
        auth = { username = "ann", password = "pw" }, metadata = { ["ssh.passphrase"] = "pw", hash = "host" },
      },
    }
    local headers = { Authorization = "Basic pw", ["X-Api-Key"] = "pw", Via = "v" }
    local config = {
      services = { service },
      authers = { { plugin = { addr = "x", token = "pw" }, redis = { password = "pw", key = "gost" } } },
      hops = { { nodes = { { http = { requestHeader = headers } } } } },
    }
    local copy, marks = mask.copy(config, { [service] = status })
    assert.same({ username = "ann", password = "***" }, copy.services[1].handler.auth)
    assert.same({ ["ssh.passphrase"] = "***", hash = "host" }, copy.services[1].handler.metadata)
    assert.equal("http://ann:***@x:1/?token=***&x=1", copy.services[1].addr)
    assert.same({ addr = "x", token = "***" }, copy.authers[1].plugin)
    assert.same({ password = "***", key = "gost" }, copy.authers[1].redis)
    assert.same({ Authorization = "***", ["X-Api-Key"] = "***", Via = "v" }, copy.hops[1].nodes[1].http.requestHeader)
    assert.equal(status, marks[copy.services[1]])
    assert.equal("pw", config.authers[1].plugin.token)
  end)

  it("hides passwords of URLs in texts", function()
    assert.equal("-L http://a:***@:80?x=1: odd", mask.text "-L http://a:pw@:80?x=1: odd")
    assert.equal("-L a:***@:80", mask.text "-L a:pw@:80")
    assert.equal("ss://***@h:1", mask.text "ss://YTpi@h:1")
    assert.equal("http://h:1/a@b", mask.text "http://h:1/a@b")
  end)
end)
