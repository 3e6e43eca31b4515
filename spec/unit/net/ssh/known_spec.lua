local helpers = require "spec.helpers"
local known = require "tidegate.net.ssh.known"
local programs = require "spec.helpers.programs"

local A, B = ("A"):rep(68), ("B"):rep(68)

describe("known hosts", function()
  after_each(helpers.task(function()
    programs.stop_all()
  end))

  local function verdict(text, host, port, kind, key)
    local file = programs.file(programs.folder(), "known", text)
    local ok, err = assert(known.look(file, host, port)):check(kind, key, "SHA256:x")
    return ok or err.message
  end

  it("are found by name, address, pattern, port and hash", helpers.task(function()
    local line = " ssh-ed25519 " .. A .. " comment\n"
    for _, case in ipairs {
      { "a.example", "A.example", 22 }, { "b,a.example", "a.example", 22 }, { "*.example", "a.example", 22 },
      { "a.example", "a.example", 2222 }, { "[a.example]:2222", "a.example", 2222 }, { "1?2.0.2.1", "192.0.2.1", 22 },
      { "2001:db8::1", "2001:db8::1", 22 },
    } do
      assert.is_true(verdict("# x\n\n" .. case[1] .. line, case[2], case[3], "ssh-ed25519", A), case[1])
    end
    for _, case in ipairs {
      { "[a.example]:2222", "a.example", 22 }, { "a.example", "b.example", 22 },
      { "*.example,!a.example", "a.example", 22 }, { "# a.example", "a.example", 22 },
    } do
      assert.matches("is not in ", verdict(case[1] .. line, case[2], case[3], "ssh-ed25519", A))
    end
    local folder = programs.folder()
    local path = programs.file(folder, "hashed", "secret.example ssh-ed25519 " .. ("A"):rep(68) .. "\n")
    programs.output("sh", { "-c", ("ssh-keygen -q -t ed25519 -N '' -f %s/k && sed 's/^/secret.example /' %s/k.pub > %s"
      .. " && ssh-keygen -q -H -f %s"):format(folder, folder, path, path) })
    local text = assert(io.open(path)):read "*a"
    assert.is_nil(text:find "secret")
    local key = text:match "ssh%-ed25519 (%S+)"
    assert.is_true(verdict(text, "secret.example", 22, "ssh-ed25519", key))
    assert.matches("is not in ", verdict(text, "other.example", 22, "ssh-ed25519", key))
  end))

  it("say what to do about others", helpers.task(function()
    local file = "x\n\na ssh-ed25519 " .. A .. "\n@cert-authority a ssh-ed25519 " .. B .. "\n"
    assert.matches(":3: another server answers.*ssh%-keyscan %-p 22 a", verdict(file, "a", 22, "ssh-ed25519", B))
    assert.matches("of a kind that .* only ssh%-ed25519", verdict(file, "a", 22, "ssh-rsa", B))
    assert.matches("fingerprint.*ssh%-keyscan %-p 2200 b", verdict(file, "b", 2200, "ssh-ed25519", A))
    assert.matches("is revoked by .*:2: ", verdict("a ssh-ed25519 " .. A .. "\n@revoked * ssh-ed25519 " .. A .. "\n",
      "a", 22, "ssh-ed25519", A))
    local found, err = known.look("/nowhere/known", "a", 22)
    assert.is_nil(found)
    assert.equal("auth", err.code)
    assert.matches("cannot read /nowhere/known.*ssh%-keyscan", err.message)
  end))

  it("tell which kinds of keys to ask for", helpers.task(function()
    local path = programs.file(programs.folder(), "known", "a ssh-rsa " .. A .. "\na ssh-ed25519 " .. A
      .. "\na ssh-rsa " .. B .. "\n@revoked a ecdsa-sha2-nistp256 " .. A .. "\n")
    assert.equal("rsa-sha2-512,rsa-sha2-256,ssh-rsa,ssh-ed25519", assert(known.look(path, "a", 22)):kinds())
    assert.is_nil(assert(known.look(path, "b", 22)):kinds())
  end))
end)
