-- The dashboard in a headless Chromium, clicked through.
-- spec: no-asan

local browser = require "spec.helpers.browser"
local helpers = require "spec.helpers"
local plane = require "spec.helpers.plane"
local programs = require "spec.helpers.programs"
local proxy = require "spec.helpers.proxy"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local p, page, port, target, held

local function hold()
  local s = assert(stream.dial("127.0.0.1:" .. p:port(1), nil, task.now() + 10000))
  s:write("\5\1\0")
  s:read_exact(2)
  local host, number = target:match "^(.*):(%d+)$"
  local a, b, c, d = host:match "(%d+)%.(%d+)%.(%d+)%.(%d+)"
  s:write("\5\1\0\1", string.char(a, b, c, d, math.floor(number / 256), number % 256))
  s:read_exact(10)
  s:write "hello"
  s:read_exact(5)
  return s
end

describe("the dashboard", function()
  setup(function()
    port = programs.free_port()
    target = plane.echo()
    local path = programs.folder() .. "/gost.yml"
    local file = assert(io.open(path, "w"))
    file:write(([[
services:
- name: proxy
  addr: 127.0.0.1:0
  handler: { type: socks5 }
- name: chained
  addr: 127.0.0.1:0
  handler: { type: http, chain: out }
chains:
- name: out
  hops:
  - name: first
    nodes: [ { name: near, addr: "127.0.0.1:1" }, { name: far, addr: "127.0.0.1:2" } ]
api: { addr: "127.0.0.1:%d", auth: { username: me, password: secret } }
]]):format(port))
    file:close()
    p = proxy.start({ "-C", path }, { services = 2 })
    held = hold()
    page = browser.start()
    page:open(("http://me:secret@127.0.0.1:%d/ui/"):format(port))
  end)

  teardown(function()
    page:close()
    proxy.stop_all()
    programs.stop_all()
  end)

  it("shows services and their connections", function()
    page:sees("#services", "proxy")
    page:sees("#services", "ready")
    page:sees("#count", "1")
  end)

  it("counts what has come and gone between two looks", function()
    for _ = 1, 5 do
      hold():close()
    end
    helpers.eventually(function()
      return page:run [[return document.querySelectorAll("#services tbody tr")[0].cells[7].textContent]] == "6"
    end, "not six connections were counted", 15)
    local total = page:run [[return document.querySelectorAll("#services tbody tr")[0].cells[10].textContent]]
    assert.not_equal("0 B", total)
    page:sees("#count", "1")
  end)

  it("works by the keyboard alone", function()
    page:run [[document.querySelector('[data-act="drain chained"]').focus(); return 1]]
    page:type('[data-act="drain chained"]', "\238\128\135") -- Enter
    page:sees("#services", "draining")
    assert.equal("drain chained", page:run "return document.activeElement.dataset.act") -- also when drawn anew
    page:type('[data-act="undrain chained"]', "\238\128\135")
    helpers.eventually(function()
      return not page:run "return document.getElementById('services').textContent":find "draining"
    end, "still draining", 15)
    assert.equal("", page:run [[return [...document.querySelectorAll("button, input, select, textarea")].filter((one) =>
      one.tabIndex < 0 && one.role !== "tab" || !(one.textContent || one.title || one.labels?.length
        || one.getAttribute("aria-label"))).map((one) => one.outerHTML).join("\n")]])
  end)

  it("asks nobody but its own server", function()
    assert.equal("", page:run [[return performance.getEntriesByType("resource").map((one) => one.name)
      .filter((name) => new URL(name).host !== location.host).join(" ")]])
    assert.is_true(page:run [[return performance.getEntriesByType("resource").length > 3]])
  end)

  it("lists connections, filters them, and closes one", function()
    page:click "#tab-connections"
    page:sees("#live", target)
    page:type("#filter [name=host]", "nowhere")
    page:sees("#total", "0")
    page:run "document.querySelector('#filter').reset(); return 1"
    page:sees("#live", target)
    page:click "#live button"
    page:sees("#total", "0")
    assert.is_nil((held:read()))
  end)

  it("draws chains", function()
    page:click "#tab-chains"
    page:sees("#drawing", "near")
    page:sees("#drawing", "far")
    page:sees("#drawing", "chained")
  end)

  it("changes the configuration, and shows what is wrong with it", function()
    page:click "#tab-config"
    helpers.eventually(function()
      return page:run "return document.getElementById('editor').value":find '"proxy"'
    end, "the editor is empty", 15)
    page:run "document.getElementById('editor').value = '{\"handler\":{\"type\":\"sox\"}}'; return 1"
    page:click "#apply"
    page:sees("#message", 'unknown handler "sox"')
    page:click "#create"
    page:run([[document.getElementById('editor').value =
      JSON.stringify({ name: "made here", addr: "127.0.0.1:0", handler: { type: "http" } }); return 1]])
    page:click "#apply"
    page:sees("#message", "created made here")
    page:click "#delete"
    page:accept_alert()
    page:sees("#message", "deleted made here")
  end)

  it("follows the log, by the keyboard as well", function()
    page:click "#tab-log"
    helpers.eventually(function()
      hold():close()
      return page:run "return document.getElementById('lines').textContent":find(target, 1, true)
    end, "no lines of the log", 15)
    page:type("#tab-log", "\238\128\146") -- arrow to the left
    assert.is_true(page:run "return !document.getElementById('config').hidden")
  end)

  it("is light or dark", function()
    local before = page:run "return document.documentElement.dataset.theme"
    page:click "#theme"
    assert.not_equal(before, page:run "return document.documentElement.dataset.theme")
    for _ = 1, 2 do -- what is written can be read: 4.5:1, as WCAG asks
      local pale = page:run [[
        const parts = (text) => text.match(/[\d.]+/g).slice(0, 3).map((n) => {
          n /= 255;
          return n <= 0.04045 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4;
        });
        const light = (text) => { const [r, g, b] = parts(text); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        const style = getComputedStyle(document.documentElement), probe = document.createElement("i");
        document.body.append(probe);
        const color = (name) => {
          probe.style.color = style.getPropertyValue(name);
          return light(getComputedStyle(probe).color);
        };
        const found = [];
        for (const ink of ["--ink", "--soft", "--good", "--bad", "--warn", "--mark"]) {
          for (const paper of ["--back", "--paper"]) {
            const [high, low] = [color(ink), color(paper)].sort((a, b) => b - a);
            if ((high + 0.05) / (low + 0.05) < 4.5) found.push(ink + " on " + paper);
          }
        }
        probe.remove();
        return found.join(", ");]]
      assert.equal("", pale)
      page:click "#theme"
    end
    assert.is_true(#page:screenshot() > 1000)
  end)
end)
