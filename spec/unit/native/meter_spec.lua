-- Meters: what counts and limits the bytes of streams and datagram relays.

local body = require "tidegate.native.body"
local helpers = require "spec.helpers"
local lazy_reply = require "tidegate.native.lazy_reply"
local listener = require "tidegate.native.listener"
local meter = require "tidegate.native.meter"
local opener = require "tidegate.native.opener"
local packet = require "tidegate.native.packet"
local relay = require "tidegate.native.relay"
local shared = require "tidegate.native.shared"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"

local names = 0

-- A shared object that no other spec has.
local function fresh(kind)
  names = names + 1
  return shared[kind]("meter_spec/" .. names)
end

local function bucket(rate, burst)
  local made = fresh "bucket"
  made:configure(rate, burst)
  return made
end

-- Both ends of one socket connection.
local function socket_pair()
  local fds = assert(listener.open("127.0.0.1:0", "stream", 1))
  local got
  local accepting = listener.accept(fds[1], function(s)
    got = s
  end)
  local client = assert(stream.dial(listener.address(fds[1])))
  helpers.eventually(function() return got end)
  accepting:close()
  listener.close_fd(fds[1])
  return client, got
end

local PAIRS = { memory = stream.pair, sockets = socket_pair }

local function read_all(s)
  local parts = {}
  local bytes = s:read(1000000)
  while bytes do
    parts[#parts + 1] = bytes
    bytes = s:read(1000000)
  end
  return table.concat(parts)
end

-- Send `size` bytes from one stream to another and wait for the end.  @return ms it took
local function transfer(from, to, size)
  local began = task.now()
  helpers.spawn(function()
    assert(from:write(("x"):rep(size)))
    from:close()
  end)
  assert.equal(size, #read_all(to))
  return task.now() - began
end

for kind, make_pair in pairs(PAIRS) do
  describe("a metered stream (" .. kind .. ")", function()
    it("counts what is read and written, in any way it is read", helpers.task(function()
      local client, near = make_pair()
      local up, down, both = fresh "counter", fresh "counter", fresh "counter"
      local one = meter.new():count(up, "in"):count(down, "out"):count(both)
      assert.is_true(near:add_meter(one))
      assert.equal(1, one:users())
      client:write "line\nabcrest"
      assert.equal("line\n", near:read_until("\n", 100))
      assert.equal("abc", near:read_exact(3))
      assert.equal("rest", near:read())
      near:write("an", "swer")
      assert.equal("answer", client:read_exact(6))
      assert.equal(12, up:get())
      assert.equal(6, down:get())
      assert.equal(18, both:get())
      near:close()
      assert.equal(0, one:users())
    end))

    it("is no faster than its slowest bucket", helpers.task(function()
      local client, near = make_pair()
      near:add_meter(meter.new():limit(bucket(1e6, 1000), "in"):limit(bucket(2e5, 20000), "in"))
      near:add_meter(meter.new():limit(bucket(5e5, 5000), "in"))
      local took = transfer(client, near, 100000)
      assert.is_true(took >= 390, took .. " ms for 80000 bytes beyond the burst at 200000/s")
    end))

    it("may have a limit of its own, which may change", helpers.task(function()
      local client, near = make_pair()
      local one = meter.new():rate("in", 200000, 20000):rate("out", 0, 0)
      near:add_meter(one)
      one:rate("in", 100000, 10000)
      local took = transfer(client, near, 50000)
      assert.is_true(took >= 390, took .. " ms for 40000 bytes beyond the burst at 100000/s")
      assert.has_error(function() one:rate("in", -1, 0) end)
    end))

    it("may have a rate of its own, and follows the rule", helpers.task(function()
      local rule = bucket(100000, 10000)
      local each = meter.new():limit_each(rule, "in")
      local took = {}
      for i = 1, 2 do
        local client, near = make_pair()
        near:add_meter(each)
        took[i] = helpers.spawn(transfer, client, near, 30000)
      end
      for i = 1, 2 do
        local ms = took[i]()
        assert.is_true(ms >= 190 and ms < 390, ms .. " ms for 20000 bytes beyond the burst at 100000/s")
      end
      assert.is_true(rule:is_full())
      rule:configure(0)
      local client, near = make_pair()
      near:add_meter(each)
      assert.is_true(transfer(client, near, 1000000) < 2000)
    end))

    it("has the place it took until it is closed", helpers.task(function()
      local client, near = make_pair()
      local places = fresh "counter"
      assert.is_true(near:hold(places, 1))
      assert.is_false(client:hold(places, 1))
      near:close()
      assert.is_true(client:hold(places, 1))
      client:close()
      assert.equal(0, places:get())
      assert.is_nil((client:hold(places)))
    end))

    it("does not let tokens go that were paid for nothing", helpers.task(function()
      local client, near = make_pair()
      local slow = bucket(1000, 10000)
      near:add_meter(meter.new():limit(slow, "in"))
      for _ = 1, 20 do
        client:write "0123456789"
        assert.equal("0123456789", near:read_exact(10))
      end
      assert.is_true(slow:take(10000) >= 9800)
    end))

    it("does not limit the other direction", helpers.task(function()
      local client, near = make_pair()
      local stop = bucket(1, 1)
      stop:take(1)
      near:add_meter(meter.new():limit(stop, "in"))
      client:write "never read in time"
      near:write "at once"
      assert.equal("at once", client:read_exact(7))
      near:set_deadline(task.now() + 20)
      local bytes, err = near:read()
      assert.is_nil(bytes)
      assert.equal("timeout", err.code)
    end))

    it("fails reads and writes once a quota is used up", helpers.task(function()
      local client, near = make_pair()
      local used, cap = fresh "counter", fresh "counter"
      near:add_meter(meter.new():quota(used, cap))
      client:write "not counted while cap is 0"
      assert.equal(26, #near:read())
      assert.equal(0, used:get())
      cap:add(10)
      client:write "more than ten bytes"
      assert.equal("more than ten bytes", near:read()) -- what crosses the limit still arrives
      assert.equal(19, used:get())
      client:write "x"
      local bytes, err = near:read()
      assert.is_nil(bytes)
      assert.equal("limit", err.code)
      assert.truthy(tostring(err):find("quota: traffic limit reached", 1, true))
      assert.is_nil((near:write "y"))
    end))

    it("gives its slot back when the last of stream and owner let go", helpers.task(function()
      local client, near = make_pair()
      local places = fresh "counter"
      assert.is_true(places:take(1))
      assert.is_false(places:take(1))
      local one = meter.new():slot(places)
      near:add_meter(one)
      one:close()
      one:close()
      assert.is_false(places:take(1))
      near:close()
      assert.is_true(places:take(1))
      client:close()
    end))

    it("is held by the relay, in both directions at once", helpers.task(function()
      local client, near = make_pair()
      local far, server = make_pair()
      local up, down, places = fresh "counter", fresh "counter", fresh "counter"
      places:take(1)
      local one = meter.new():count(up, "in"):count(down, "out"):slot(places)
      local two = meter.new():limit(bucket(2e6, 200000), "in"):limit(bucket(1e6, 100000), "out")
      near:add_meter(one)
      near:add_meter(two)
      one:close()
      two:close()
      local result = helpers.spawn(relay.run, near, far)
      local answer = helpers.spawn(function()
        assert(server:write(("y"):rep(300000)))
        server:shutdown()
        return #read_all(server)
      end)
      helpers.spawn(function()
        assert(client:write(("x"):rep(500000)))
        client:shutdown()
      end)
      local began = task.now()
      assert.equal(300000, #read_all(client))
      assert.equal(500000, answer())
      result = result()
      assert.is_true(task.now() - began >= 140)
      assert.equal(500000, up:get())
      assert.equal(300000, down:get())
      assert.equal(500000, result.up)
      assert.equal(0, places:get())
      server:close()
    end))

    it("ends a relay when a quota is used up", helpers.task(function()
      local client, near = make_pair()
      local far, server = make_pair()
      local used, cap = fresh "counter", fresh "counter"
      cap:add(100000)
      near:add_meter(meter.new():quota(used, cap, "out"))
      local result = helpers.spawn(relay.run, near, far)
      helpers.spawn(function()
        while server:write(("y"):rep(10000)) do
          task.sleep(0)
        end
      end)
      local got = #read_all(client)
      result = result()
      assert.equal("limit", result.err.code)
      assert.equal(got, used:get())
      assert.is_true(got >= 100000 and got < 1500000, got)
      server:close()
    end))

    it("limits bodies", helpers.task(function()
      local client, near = make_pair()
      local far, server = make_pair()
      near:add_meter(meter.new():limit(bucket(1e6, 50000), "in"))
      far:add_meter(meter.new():limit(bucket(3e5, 50000), "out"))
      local began = task.now()
      local got = helpers.spawn(read_all, server)
      helpers.spawn(function()
        client:write(("b"):rep(150000))
      end)
      assert.equal(150000, body.copy(near, far, 150000))
      assert.is_true(task.now() - began >= 330)
      far:close()
      assert.equal(150000, #got())
    end))
  end)
end

describe("meters of relays", function()
  it("keep the splice path in use", helpers.task(function()
    local client, near = socket_pair()
    local far, server = socket_pair()
    near:add_meter(meter.new():limit(bucket(1e7, 100000)))
    local spliced, copied = relay.stats()
    local result = helpers.spawn(relay.run, near, far)
    helpers.spawn(function()
      client:write(("x"):rep(1000000))
      client:shutdown()
      read_all(client)
      client:close()
    end)
    helpers.spawn(function()
      server:write(("y"):rep(1000000))
      server:shutdown()
    end)
    assert.equal(1000000, #read_all(server))
    server:close()
    assert.is_nil(result().err)
    local spliced_after, copied_after = relay.stats()
    assert.is_true(spliced_after - spliced > 1000000, spliced_after - spliced)
    assert.is_true(copied_after - copied < 1000000)
  end))

  it("share a bucket fairly", helpers.task(function()
    local one = meter.new():limit(bucket(2e6, 100000), "in")
    local counters, ends = {}, {}
    for i = 1, 20 do
      local client, near = socket_pair()
      local far, server = socket_pair()
      counters[i] = fresh "counter"
      near:add_meter(one)
      near:add_meter(meter.new():count(counters[i], "in"))
      relay.start(near, far)
      helpers.spawn(function()
        while client:write(("x"):rep(10000)) do end
      end)
      helpers.spawn(function()
        while server:read(100000) do end
      end)
      ends[#ends + 1], ends[#ends + 2] = client, server
    end
    helpers.eventually(function()
      local all = 0
      for _, counter in ipairs(counters) do
        all = all + counter:get()
      end
      return all > 5000000 -- a pause of the machine favours the first
    end, "too slow", 30)
    local least, most = math.huge, 0
    for _, counter in ipairs(counters) do
      least, most = math.min(least, counter:get()), math.max(most, counter:get())
    end
    for _, s in ipairs(ends) do
      s:interrupt()
      s:close()
    end
    assert.is_true(least > 0 and most <= 4 * least, ("%d to %d bytes"):format(least, most))
  end))

  it("may include others", helpers.task(function()
    local client, near = stream.pair()
    local own, part, counter = meter.new(), meter.new(), fresh "counter"
    near:add_meter(own)
    own:close()
    own = meter.new()
    near:add_meter(own)
    own:include(part:count(counter, "out"))
    assert.equal(1, part:users())
    near:write "counted"
    client:read()
    assert.equal(7, counter:get())
    own:close()
    assert.equal(1, part:users())
    near:close()
    assert.equal(0, part:users())
    assert.has_error(function() part:include(part) end)
    assert.has_error(function() near:add_meter(own) end)
  end))

  it("may gain an entry while streams have them", helpers.task(function()
    local client, near = stream.pair()
    local late, counter = meter.new(), fresh "counter"
    near:add_meter(late)
    client:write "before"
    near:read()
    late:count(counter)
    client:write "after"
    near:read()
    assert.equal(5, counter:get())
  end))
end)

describe("meters of datagram relays", function()
  local one, two, client, server, ends

  -- Client → relay → server, over sockets.
  local function join(meters)
    server = assert(packet.udp { at = "127.0.0.1:0" })
    local near = assert(packet.udp { at = "127.0.0.1:0" })
    client = assert(packet.udp { connect = near:local_address() })
    ends = helpers.spawn(packet.relay_wait, near, assert(packet.udp {
      connect = server:local_address(),
    }), { meters = meters, ask_all = false })
  end

  local function finish()
    client:close()
    server:close()
    packet.cut_all()
    return ends()
  end

  before_each(function()
    one, two = meter.new(), meter.new()
  end)

  it("count what passes and let datagrams wait for their turn", helpers.task(function()
    local up = fresh "counter"
    one:count(up, "in"):limit(bucket(20000, 2000), "in")
    two:limit(bucket(1e6), "in")
    join { one, two }
    local began = task.now()
    for i = 1, 10 do
      client:send(("%03d"):format(i) .. ("x"):rep(997))
    end
    for i = 1, 10 do
      local bytes = server:recv()
      assert.equal(("%03d"):format(i), bytes:sub(1, 3)) -- none lost, none out of order
    end
    assert.is_true(task.now() - began >= 380, task.now() - began)
    assert.equal(10000, up:get())
    finish()
  end))

  it("drop what is longer than a burst", helpers.task(function()
    one:limit(bucket(1e6, 500), "in")
    join { one }
    client:send(("x"):rep(501))
    client:send(("y"):rep(500))
    assert.equal(("y"):rep(500), (server:recv()))
    assert.equal(1, finish().dropped)
  end))

  it("bound what waits", helpers.task(function()
    one:limit(bucket(1000, 1000), "in")
    join { one }
    for _ = 1, 1000 do
      client:send(("x"):rep(1000))
    end
    assert.equal(1000, #server:recv())
    local result = finish()
    assert.is_true(result.up <= 2000)
  end))

  it("end it when a quota is used up, and give slots back", helpers.task(function()
    local used, cap, places = fresh "counter", fresh "counter", fresh "counter"
    cap:set(1500)
    places:take(1)
    one:quota(used, cap):slot(places)
    join { one }
    helpers.pass()
    one:close()
    helpers.spawn(function()
      for _ = 1, 10 do
        client:send(("x"):rep(1000))
        helpers.pass()
      end
    end)
    local result = ends()
    assert.equal("limit", result.err.code)
    assert.is_true(used:get() >= 1500)
    assert.equal(0, places:get())
    client:close()
    server:close()
  end))

  it("do not count twice what a stream carries", helpers.task(function()
    local near, far = stream.pair()
    local up = fresh "counter"
    one:count(up, "in")
    near:add_meter(one)
    local framed = assert(packet.over_stream(far, "u16"))
    server = assert(packet.udp { at = "127.0.0.1:0" })
    assert(packet.relay(assert(packet.over_stream(near, "u16")), assert(packet.udp {
      connect = server:local_address(),
    }), { meters = { one } }))
    framed:send "12345"
    assert.equal("12345", (server:recv()))
    assert.equal(7, up:get()) -- with the length in front
    framed:close()
    server:close()
    helpers.eventually(function() return packet.count() == 0 end)
  end))
end)

describe("a meter of a tunnel", function()
  -- Both layers leave the stack when their part is over; what is metered is the tunnel, before and after.
  for _, kind in ipairs { "memory", "sockets" } do
    it("goes on when layers that opened it have left: " .. kind, helpers.task(function()
      local client, near = PAIRS[kind]()
      local far, server = PAIRS[kind]()
      local up, down = fresh "counter", fresh "counter"
      client:write(("x"):rep(1001))
      near:read_exact(1)
      local result = helpers.spawn(relay.run, opener.late_reply(near, "OK:"), lazy_reply.relay(far),
        relay.options { up = up, down = down })
      for i = 1, 5 do
        assert.equal(1000, #server:read_exact(1000))
        client:write(("x"):rep(1000))
        server:write((i == 1 and "\1\0\0\0" or "") .. ("y"):rep(100000))
        assert.equal((i == 1 and "OK:" or "") .. ("y"):rep(100000), client:read_exact(100000 + (i == 1 and 3 or 0)))
      end
      assert.equal(1000, #server:read_exact(1000))
      client:shutdown()
      assert.equal("eof", select(2, server:read()).code)
      server:write "last words"
      server:close()
      assert.equal("last words", client:read_exact(10))
      client:close()
      local r = result()
      assert.same({ 6000, 500010 }, { r.up, r.down })
      -- the first 1,000 were read before there was a meter
      assert.same({ 5000, 500010 }, { tonumber(up:get()), tonumber(down:get()) })
    end))
  end
end)
