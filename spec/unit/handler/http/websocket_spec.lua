-- Frames of WebSocket on their way through: all of them pass, some are recorded.  Spec: policy 21.3.

local base64 = require "tidegate.net.http.base64"
local cjson = require "cjson"
local helpers = require "spec.helpers"
local stream = require "tidegate.native.stream"
local task = require "tidegate.native.task"
local websocket = require "tidegate.handler.http.websocket"

local FRAMES = 30
local MASKED = "\193\132\1\2\3\4abcd" -- fin, rsv1, text, masked
local PLAIN = "\2\3xyz" -- not the last one of a binary message

-- Frames of both sides, through a service that records so many a second.
-- @return records of the client's and of the server's frames
local function exchange(rate, most)
  local records = { client = {}, server = {} }
  local recorder = { record = function(_, data)
    local record = cjson.decode(data)
    table.insert(records[record.websocket.from], record)
  end }
  local ctx = {
    sid = "z", network = "tcp", client = "1.2.3.4:5", started = task.now(),
    service = { name = "s", recorders = { ["recorder.service.handler"] = { recorder = recorder } } },
  }
  local client, near = stream.pair()
  local far, server = stream.pair()
  local served = helpers.spawn(function()
    return websocket.serve({ websocket = rate, stall = 5000 }, ctx, near, far,
      { most = most, extra = {
        http = { host = "h" }, clientIP = "192.0.2.1", src = "10.0.0.1:2", dst = "10.0.0.3:4", host = "h.test:80",
      } })
  end)
  client:write(MASKED:rep(FRAMES))
  server:write(PLAIN:rep(FRAMES))
  for _, one in ipairs { client, server } do
    one:set_deadline(task.now() + 20000)
    one:shutdown()
  end
  assert.equal(MASKED:rep(FRAMES), server:read_exact(#MASKED * FRAMES))
  assert.equal(PLAIN:rep(FRAMES), client:read_exact(#PLAIN * FRAMES))
  assert.is_true(served())
  client:close()
  server:close()
  return records.client, records.server
end

describe("frames of WebSocket", function()
  -- sniffing.websocket.sampleRate, records of each direction at once
  for _, case in ipairs { { 10, 10 }, { 3, 3 }, { -1, FRAMES } } do
    it(("are recorded up to a rate, %d"):format(case[1]), helpers.task(function()
      local up, down = exchange(case[1], 100)
      for _, list in ipairs { up, down } do
        assert.is_true(#list >= case[2] and #list <= math.min(case[2] + 2, FRAMES), #list) -- time may have passed
      end
    end))
  end

  it("are described as they were on the wire, a record for each", helpers.task(function()
    local up, down = exchange(1, 3)
    local one = up[1].websocket
    assert.equal("abc", base64.decode(one.payload)) -- as much as may be
    one.payload = nil
    assert.same({ from = "client", fin = true, rsv1 = true, rsv2 = false, rsv3 = false, opcode = 1, masked = true,
      maskKey = 0x01020304, length = 4 }, one)
    assert.same({ #MASKED, 0 }, { up[1].inputBytes, up[1].outputBytes })
    one = down[1].websocket
    assert.equal("xyz", base64.decode(one.payload))
    assert.same({ false, false, 2, false, 0, 3 },
      { one.fin, one.rsv1, one.opcode, one.masked, one.maskKey, one.length })
    assert.same({ 0, #PLAIN }, { down[1].inputBytes, down[1].outputBytes })
    one = down[1]
    assert.same({ "192.0.2.1", "10.0.0.1:2", "10.0.0.3:4", "h.test:80" }, { one.clientIP, one.src, one.dst, one.host })
    assert.is_nil(one.http) -- which has a record of its own
  end))
end)
