local bypass = require "tidegate.policy.bypass"
local files = require "spec.helpers.mmdb"
local mmdb = require "tidegate.native.mmdb"

local COUNTRIES = files.countries {
  { "1.0.0.0/8", "AU" }, { "1.2.0.0/16", "CN" }, { "2001:db8::/32", "DE" }, { "2.2.2.2/32", "us" },
}
local SYSTEMS = files.systems { { "1.0.0.0/8", 13335 }, { "2001:db8::/32", 4200000000 } }

local function path_of(name)
  return os.tmpname() .. name
end

describe("native.mmdb", function()
  local country, asn

  setup(function()
    country = files.write(path_of ".country", COUNTRIES)
    asn = files.write(path_of ".asn", SYSTEMS)
  end)

  teardown(function()
    os.remove(country)
    os.remove(asn)
  end)

  it("finds countries and systems", function()
    local db = assert(mmdb.open(country))
    for ip, code in pairs {
      ["1.1.1.1"] = "AU", ["1.2.3.4"] = "CN", ["::ffff:1.2.3.4"] = "CN", ["2001:db8::9"] = "DE",
      ["2.2.2.2"] = "US", ["2.2.2.3"] = "", ["9.9.9.9"] = "", ["2001:db9::"] = "", name = "", [""] = "",
    } do
      assert.equal(code, db:country(ip) or "", ip)
    end
    db:close()
    db:close()
    assert.has_error(function()
      db:country "1.1.1.1"
    end)
    db = assert(mmdb.open(asn))
    assert.equal(13335, db:asn "1.255.255.255")
    assert.equal(4200000000, db:asn "2001:db8:ffff::")
    assert.is_nil(db:asn "2.0.0.0")
    assert.is_nil(db:country "1.1.1.1")
    db:close()
  end)

  it("reads what other makers write", function()
    local path = files.write(path_of ".others", {
      { "1.0.0.0/8", { country_code = "FR", asn = "AS64500" } },
      { "2.0.0.0/8", { country = "IT", asn = 64501 } },
      { "3.0.0.0/8", "se" },
      { "4.0.0.0/8", { registered_country = { iso_code = "NO" }, country = {} } },
      { "5.0.0.0/8", { country = "Germany", asn = "64502" } },
    })
    local db = assert(mmdb.open(path))
    os.remove(path)
    assert.same({ "FR", "IT", "SE", "NO" },
      { db:country "1.1.1.1", db:country "2.1.1.1", db:country "3.1.1.1", db:country "4.1.1.1" })
    assert.same({ 64500, 64501 }, { db:asn "1.1.1.1", db:asn "2.1.1.1" })
    assert.is_nil(db:asn "3.1.1.1")
    assert.is_nil(db:country "5.1.1.1")
    assert.is_nil(db:asn "5.1.1.1")
    db:close()
  end)

  it("says what is wrong with a file", function()
    local db, err = mmdb.open "/nowhere/x.mmdb"
    assert.is_nil(db)
    assert.matches("/nowhere/x.mmdb: No such file", tostring(err))
    db, err = mmdb.open "/dev/null"
    assert.is_nil(db)
    assert.matches("/dev/null", tostring(err))
    local path = path_of ".bad"
    for _, bytes in ipairs { "", "no database", files.bytes(COUNTRIES):sub(1, 200) } do
      local file = io.open(path, "wb")
      file:write(bytes)
      file:close()
      db, err = mmdb.open(path)
      assert.is_nil(db)
      assert.matches(path, tostring(err), 1, true)
    end
    os.remove(path)
  end)

  it("takes over a changed file, and keeps what it has when that is no good", function()
    local path = files.write(path_of ".changing", COUNTRIES)
    local db, other = assert(mmdb.open(path)), assert(mmdb.open(path))
    assert.is_false(db:refresh())
    files.write(path, files.countries { { "1.0.0.0/8", "NZ" } })
    assert.is_true(db:refresh())
    assert.equal("NZ", db:country "1.1.1.1")
    assert.equal("NZ", other:country "1.2.1.1")

    local file = io.open(path, "wb") -- in its place, cut short
    file:write "short"
    file:close()
    assert.equal("NZ", db:country "1.1.1.1")
    local ok, err = db:refresh()
    assert.is_nil(ok)
    assert.matches(path, tostring(err), 1, true)
    assert.is_false(db:refresh()) -- told once
    assert.equal("NZ", db:country "1.1.1.1")
    os.remove(path)
    assert.is_nil((db:refresh()))
    assert.equal("NZ", other:country "1.1.1.1")
    files.write(path, COUNTRIES)
    assert.is_true(db:refresh())
    assert.equal("CN", other:country "1.2.1.1")
    os.remove(path)
  end)

  it("is asked by patterns", function()
    local config = {
      name = "b",
      matchers = { "geoip:CN", "geoip:de", "asn:13335", "ASN:AS64500", "geoip:private" },
      mmdb = { country = country, asn = asn },
    }
    local data = assert(bypass.prepare(config))
    local list = assert(bypass.new(config, { data = data }))
    bypass.release(data)
    for address, expected in pairs {
      ["1.2.3.4:80"] = true, ["[::ffff:1.2.3.4]:80"] = true, ["1.9.9.9:80"] = true, -- its system
      ["[2001:db8::1]:443"] = true, ["2.2.2.2:80"] = false, ["9.9.9.9:80"] = false,
      ["10.1.2.3:80"] = true, ["[fe80::1%eth0]:80"] = true, ["192.168.0.9"] = true,
      ["geoip:CN"] = false, ["cn"] = false, ["example.com:13335"] = false,
    } do
      assert.equal(expected, list:contains(nil, "tcp", address), address)
    end
    list:close()
  end)

  it("must be there where patterns need it", function()
    local data, err = bypass.prepare { name = "b", matchers = { "geoip:CN" } }
    assert.is_nil(data)
    assert.matches("mmdb.country", tostring(err))
    data, err = bypass.prepare { name = "b", matchers = { "asn:1" }, mmdb = { country = country } }
    assert.is_nil(data)
    assert.matches("mmdb.asn", tostring(err))
    data, err = bypass.prepare { name = "b", mmdb = { country = "/nowhere/x" } }
    assert.is_nil(data)
    assert.matches("/nowhere/x", tostring(err))
  end)

  it("is taken over by the next preparation", function()
    local path = files.write(path_of ".list", COUNTRIES)
    local config = { name = "b", matchers = { "geoip:CN" }, mmdb = { country = path } }
    local one = assert(bypass.prepare(config))
    local list = assert(bypass.new(config, { data = one }))
    assert.is_false(list:contains(nil, "tcp", "3.3.3.3:1"))
    files.write(path, files.countries { { "3.0.0.0/8", "CN" } })
    local two = assert(bypass.prepare(config))
    assert(list:load(two))
    assert.is_true(list:contains(nil, "tcp", "3.3.3.3:1"))
    assert.is_false(list:contains(nil, "tcp", "1.2.3.4:1"))
    os.remove(path)
    local three, err = bypass.prepare(config) -- the file is gone: what is open stays
    assert(three, tostring(err))
    for _, data in ipairs { one, two, three } do
      bypass.release(data)
    end
  end)
end)
