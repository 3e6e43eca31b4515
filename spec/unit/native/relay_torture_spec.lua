-- Relays under random treatment: chunk sizes, pauses, half-closes and kills, over memory, sockets and
-- TLS.  Every byte that arrives is checked, and in the end nothing may be left behind.

local fixture = require "spec.helpers.tls"
local helpers = require "spec.helpers"
local listener = require "tidegate.native.listener"
local meter = require "tidegate.native.meter"
local relay = require "tidegate.native.relay"
local shared = require "tidegate.native.shared"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"
local uv = require "luv"

local SEED = tonumber(os.getenv "TIDEGATE_SEED") or 20261121
local ROUNDS, TUNNELS = 6, 16
local PATTERN = {}
for i = 1, 65536 do PATTERN[i] = string.char((i * 7 + math.floor(i / 251)) % 256) end
PATTERN = table.concat(PATTERN)
local PERIOD = #PATTERN
PATTERN = PATTERN .. PATTERN .. PATTERN .. PATTERN .. PATTERN

local function random(n)
  return math.random(0, n - 1)
end

local function bytes_at(offset, count)
  local start = offset % PERIOD
  return PATTERN:sub(start + 1, start + count)
end

local function open_descriptors()
  local count, scan = 0, uv.fs_scandir "/proc/self/fd"
  while uv.fs_scandir_next(scan) do count = count + 1 end
  return count
end

local slots = shared.counter "torture slots"

-- Meters of all kinds for the near end, now and then; below TLS if that comes on top.
local function metered(near)
  for _ = 1, math.max(random(5) - 2, 0) do
    local one = meter.new():slot(slots)
    slots:add(1)
    for _ = 1, random(3) do
      local bucket = shared.bucket("torture meter " .. random(6))
      bucket:configure(20000000 + random(80000000), 3000 + random(2) * random(2000000))
      one:limit(bucket, ({ "in", "out", "both" })[1 + random(3)])
    end
    near:add_meter(one:count(shared.counter "torture bytes"))
    one:close()
  end
end

local address, accepted, accepting, fds

local function socket_pair()
  local client = assert(stream.dial(address))
  helpers.eventually(function() return accepted[client:local_address()] end)
  local near = accepted[client:local_address()]
  accepted[client:local_address()] = nil
  metered(near)
  return client, near
end

local function memory_pair()
  local client, near = stream.pair()
  metered(near)
  return client, near
end

local server_context, client_context

local function tls_pair()
  local client, near = socket_pair()
  local top, client_top = fixture.handshake(near, client, server_context, client_context, "localhost")
  return assert(client_top), assert(top)
end

local makers = { memory_pair, socket_pair, socket_pair, tls_pair }

local function pause(often)
  if random(often) == 0 then
    task.sleep(random(4) / 1000)
  end
end

-- Send up to `total` bytes; the end is a half-close, or death in the middle.
local function feed(s, total, dies)
  local sent = 0
  while sent < total do
    local count = math.min(total - sent, random(8) == 0 and 200000 or 1 + random(9000))
    if not s:write(bytes_at(sent, count)) then
      return
    end
    sent = sent + count
    if dies and random(10) == 0 then
      s:close()
      return
    end
    pause(12)
  end
  if not s:is_closed() then
    s:shutdown()
  end
end

-- @return how many bytes came, and how it ended
local function drink(s)
  local got = 0
  while true do
    local chunk, err = s:read(1 + random(random(4) == 0 and 200000 or 20000))
    if not chunk then
      return got, err.code
    end
    if chunk ~= bytes_at(got, #chunk) then
      error(("seed %d: wrong bytes after %d"):format(SEED, got))
    end
    got = got + #chunk
    pause(12)
  end
end

local function options()
  local wanted = { linger = 2000, idle = 5000 }
  if random(4) == 0 then
    local bucket = shared.bucket("torture " .. random(3))
    bucket:configure(60000000 + random(60000000))
    wanted[random(2) == 0 and "up_limit" or "down_limit"] = bucket
  end
  return relay.options(wanted)
end

local function tunnel()
  local client, near = makers[1 + random(#makers)]()
  local server, far = makers[1 + random(#makers)]()
  local up, down = random(4) * random(400000), random(4) * random(400000)
  local kill = random(3) == 0
  local result = helpers.spawn(relay.run, near, far, options())
  local feeding = {
    helpers.spawn(feed, client, up, kill and random(2) == 0),
    helpers.spawn(feed, server, down, kill and random(2) == 0),
  }
  local at_client = helpers.spawn(drink, client)
  local at_server = helpers.spawn(drink, server)
  local got_up, end_up = at_server()
  local got_down, end_down = at_client()
  feeding[1]()
  feeding[2]()
  client:close()
  server:close()
  local r = result()
  assert.is_true(got_up <= up and got_down <= down)
  if not kill then
    local note = ("seed %d, %d up, %d down: %s"):format(SEED, up, down, tostring(r.err))
    assert.equal(up, got_up, note)
    assert.equal(down, got_down, note)
    assert.equal("eof eof", end_up .. " " .. end_down, note)
    assert.is_nil(r.err, note)
    assert.equal(up, r.up)
    assert.equal(down, r.down)
  end
end

describe("relays under random treatment", function()
  setup(helpers.task(function()
    accepted = {}
    fds = assert(listener.open("127.0.0.1:0", "stream", 1))
    address = listener.address(fds[1])
    accepting = assert(listener.accept(fds[1], function(s)
      accepted[s:remote_address()] = s
    end))
    server_context, client_context = fixture.server_context(), fixture.client_context()
  end))

  teardown(function()
    accepting:close()
    listener.close_fd(fds[1])
  end)

  it("lose no byte, no descriptor and no task", helpers.task(function()
    math.randomseed(SEED)
    local before
    for round = 1, ROUNDS do
      local all = {}
      for i = 1, TUNNELS do all[i] = helpers.spawn(tunnel) end
      for i = 1, TUNNELS do all[i]() end
      helpers.eventually(function() return relay.count() == 0 end)
      assert.equal(0, slots:get())
      collectgarbage()
      if round == 2 then
        before = open_descriptors()
      end
    end
    -- pipes that are kept for the next flow: two descriptors each
    assert.is_true(open_descriptors() <= before + 16, ("%d, then %d"):format(before, open_descriptors()))
  end, 60))
end)
