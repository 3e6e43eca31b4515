-- What ./dev docs writes: up to date, and of use to man and the shells.

local helpers = require "spec.helpers"
local programs = require "spec.helpers.programs"
local terminals = require "spec.helpers.terminal"

local function read(path)
  local file = io.open(path, "rb")
  local text = file and file:read "*a"
  if file then
    file:close()
  end
  return text
end

-- What bash offers for a command line; its last word may be empty.
local function bash_offers(...)
  local words = { ... }
  local quoted = {}
  for i, word in ipairs(words) do
    quoted[i] = "'" .. word .. "'"
  end
  local script = ([[
compopt() { :; }
. runtime/packaging/completions/tidegate.bash
COMP_WORDS=(%s); COMP_CWORD=%d
_tidegate
printf '%%s\n' "${COMPREPLY[@]}"]]):format(table.concat(quoted, " "), #words - 1)
  local offers = {}
  for line in programs.output("bash", { "-c", script }):gmatch "[^\n]+" do
    offers[#offers + 1] = line
  end
  table.sort(offers)
  return offers
end

describe("what ./dev docs writes", function()
  after_each(helpers.task(programs.stop_all))

  for _, part in ipairs {
    "runtime.docs.markdown", "runtime.docs.man", "runtime.docs.completions", "spec.helpers.matrix_page",
  } do
    it("is up to date: " .. part, function()
      for path, text in pairs(require(part).pages()) do
        assert.is_true(read(path) == text, path .. " is not what the schemas say; run ./dev docs")
      end
    end)
  end

  it("are manual pages without a warning", helpers.task(function()
    for _, path in ipairs { "docs/man/tidegate.1", "docs/man/tidegate.yml.5" } do
      local made = programs.run("groff", { "-man", "-Tutf8", "-ww", path })
      assert.equal("", made.stderr)
      assert.equal(0, made.code)
      assert.is_true(#made.stdout > 2000)
    end
  end))

  it("completes in bash", helpers.task(function()
    assert.same({ "convert" }, bash_offers("tidegate", "conv"))
    assert.same({ "-metrics" }, bash_offers("tidegate", "-L", ":1", "-me"))
    assert.same({ "--metrics" }, bash_offers("tidegate", "--me"))
    assert.same({ "json" }, bash_offers("tidegate", "convert", "--to", "j"))
    assert.same({ "socks4://", "socks4a://", "socks5://", "socks://" }, bash_offers("tidegate", "-L", "soc"))
    assert.same({ "relay+tls://" }, bash_offers("tidegate", "-F", "relay+tl"))
    assert.same({}, bash_offers("tidegate", "-L", "socks5://a"))
    assert.same({ "socks4", "socks4a" }, bash_offers("tidegate", "doc", "socks4"))
  end))

  it("completes in fish", helpers.task(function()
    local function offers(line)
      local script = "source runtime/packaging/completions/tidegate.fish; complete -C " .. ("%q"):format(line)
      return programs.output("fish", { "-N", "-c", script }, { env = { HOME = programs.folder() } })
    end
    assert.matches("^convert\t", offers "tidegate conv")
    assert.matches("%-metrics\t", offers "tidegate -me")
    assert.matches("relay%+tls://", offers "tidegate -F relay+tl")
    assert.matches("^json[^\n]*\nlua[^\n]*\nurl[^\n]*\nyaml[^\n]*\n?$", offers "tidegate convert --to ")
    assert.matches("socks4a", offers "tidegate doc socks4")
  end))

  it("is accepted by zsh", helpers.task(function()
    assert.equal("", programs.run("zsh", { "-n", "runtime/packaging/completions/_tidegate" }).stderr)
  end))

  it("completes in zsh", helpers.task(function()
    if not terminals.is_there() then
      return pending "tmux is not installed"
    end
    local folder = programs.folder()
    local t = terminals.start(folder, "HOME='" .. folder .. "' exec zsh -f -i")
    t.keys("PS1='ready> '; fpath=($PWD/runtime/packaging/completions $fpath)", "Enter")
    t.keys("autoload -Uz compinit; compinit -u -D", "Enter")
    t.shows "\nready>"
    for _, row in ipairs {
      { "tidegate -L socks5+tl", "tidegate -L socks5+tls://" }, { "tidegate conv", "tidegate convert" },
      { "tidegate convert --to j", "tidegate convert --to json" }, { "tidegate --rocks", "tidegate --rocks-tree" },
      { "tidegate doc socks4", "\nsocks4   socks4a" },
    } do
      t.keys(row[1], "Tab")
      t.shows(row[2])
      t.keys "C-u"
    end
    terminals.stop_all()
  end))
end)
