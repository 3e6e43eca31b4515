-- Request bodies on their way to the upstream, beside the wait for the response.

local body = require "tidegate.native.body"
local head = require "tidegate.net.http.head"
local recording = require "tidegate.handler.http.record"
local task = require "tidegate.native.task"

local M = {}

local REPLAY = 65536 -- bytes of a body that are kept for a target that refuses the request

-- The response may come before the body is through.
local function upload(job)
  local room = math.max(recording.room(job.rec, job.framing), job.replay)
  local moved, err, side, _, kept, cut = body.copy(job.client, job.upstream, job.framing, job.head, job.patience,
    job.stall, nil, room)
  if moved then
    kept, cut, err, side = err, side, nil, nil
  end
  if room > 0 and job.rec then
    recording.request_body(job.rec, kept, job.framing)
  end
  job.kept = room > 0 and not cut and kept or nil
  job.over, job.ok, job.err, job.side = true, moved ~= nil, err, side
  job.ended = task.now()
  if not moved and side == "from" then
    job.upstream:close() -- nobody will finish this request; who waits for the response hears it
  end
  job.waiter:wake()
end

-- A body that is here already, whole.
local function send_whole(engine, upstream, bytes, whole)
  upstream:set_deadline(engine.stall > 0 and task.now() + engine.stall or nil)
  local ok, err = upstream:write(bytes, whole)
  if not ok then
    return false, err
  end
  return nil
end

--- Send head and body.
-- @param bytes the head
-- @return job of the body, or nil when there is none under way | false, err
function M.send(engine, stream, upstream, request, bytes)
  local framing = head.request_framing(request)
  if request.whole_body then
    return send_whole(engine, upstream, bytes, request.whole_body)
  elseif framing == 0 then
    local ok, err = upstream:write(bytes)
    if not ok then
      return false, err
    end
    return nil
  end
  local job = {
    client = stream,
    upstream = upstream,
    framing = framing,
    head = bytes,
    stall = engine.stall,
    patience = request.patient and 0 or engine.stall, -- a call's client may say nothing for hours
    replay = request.multiplexed and REPLAY or 0,
    rec = request.rec,
    waiter = task.waiter(),
    over = false,
  }
  stream:set_deadline(nil)
  task.spawn(upload, job)
  return job
end

--- Put what was sent of a body back, to be sent again.  @return whether that is possible
function M.rewind(job, stream)
  return job.over and job.side ~= "from" and job.kept ~= nil and stream:unread(job.kept) ~= nil
end

--- What happened when the client broke its request off, else nil.
function M.client_failure(job)
  if job and job.over and not job.ok and job.side == "from" then
    return job.err:during("request body")
  end
end

return M
