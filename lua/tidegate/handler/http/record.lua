-- Records of HTTP requests: one each, with the `http` object.  See tidegate.process.record.

local copy = require "tidegate.handler.http.copy"
local head = require "tidegate.net.http.head"
local object = require "tidegate.policy.recorder.object"
local record = require "tidegate.process.record"
local task = require "tidegate.native.task"

local M = {}

-- The client that forwarding proxies name, as gost looks for it.
local function client_ip(request)
  local ip = head.get(request, "cf-connecting-ip")
  if not ip or ip == "" then
    ip = (head.get(request, "x-forwarded-for") or ""):match("^[^,]*")
  end
  if ip == "" then
    ip = head.get(request, "x-real-ip")
  end
  return ip and ip:match("^%s*([%x.:]+)%s*$")
end

local function length_of(message, framing)
  if framing == "chunked" or framing == "close" then
    return -1
  end
  return message.length or framing
end

-- The fields of a message; those of HTTP/2 have no coding of transfers, which is our way to look at it.
local function fields_of(message, is_h2)
  local fields = object.header(message)
  if is_h2 and type(fields) == "table" then
    fields["Transfer-Encoding"] = nil
  end
  return fields
end

--- A request has come.
-- @return what is to be said about it at its end, or nil: it is not recorded
function M.begin(ctx, request)
  local bound = ctx.service and record.wanted(ctx)
  if not bound then
    return nil
  end
  local mode = request.private and head.get(request, "gost-record")
  if mode == "off" then
    ctx.recorded = false
    return nil
  end

  local rx, tx = ctx.http_rx or 0, ctx.http_tx or 0
  local rec = {
    began = task.now(),
    rx = rx,
    tx = tx,
    most = mode == "headers" and 0 or bound.options.body,
    is_h2 = ctx.carrier_of_h2,
    extra = {
      proto = "http",
      asked = request.address,
      clientIP = client_ip(request),
      http = {
        host = request.url_host or request.host or request.authority or "", -- a host in the request line outranks Host
        method = request.method,
        proto = ctx.carrier_of_h2 and "HTTP/2.0" or "HTTP/1." .. request.minor,
        scheme = request.method == "CONNECT" and "http" or request.url_host and request.scheme or "",
        uri = request.target,
        request = {
          contentLength = length_of(request, head.request_framing(request)),
          header = fields_of(request, ctx.carrier_of_h2),
        },
        response = {},
      },
    },
  }
  ctx.recorded = rec.extra
  return rec
end

--- How many bytes of a body, as it is on the wire, are worth keeping; 0: none.
function M.room(rec, framing)
  return rec and copy.room(rec.most, framing) or 0
end

--- The stream to where a request goes, as long as it is there to ask.
function M.upstream(rec, stream)
  rec.extra.src = stream.local_address and stream:local_address() or nil
  rec.extra.dst = stream.remote_address and stream:remote_address() or nil
end

--- Inside of a tunnel the host is whom the request names.
function M.names_host(rec, address)
  rec.extra.host = address
end

local function body_of(rec, bytes, framing)
  if bytes and rec.most > 0 then
    return copy.body(bytes, framing):sub(1, rec.most)
  end
end

--- A request was changed before it goes to its target.
-- @param host, target as they came; as they go: request.send_host, request.send_target
function M.changed(rec, request, host, target)
  local http = rec.extra.http
  if request.send_host == host and request.send_target == target and not request.added then
    return
  end
  http.originalHost, http.originalUri, http.originalRequest = host, target, http.request
  http.originalRequest.body = body_of(rec, request.whole_before, #(request.whole_before or ""))
  http.host, http.uri = request.send_host, request.send_target
  http.request = {
    contentLength = request.whole_body and #request.whole_body or http.request.contentLength,
    header = fields_of(head.lines(request, request.dropped) .. (request.added or ""), rec.is_h2),
    body = body_of(rec, request.whole_body, #(request.whole_body or "")),
  }
end

--- What was kept of the request's body.
function M.request_body(rec, bytes, framing)
  rec.extra.http.request.body = body_of(rec, bytes, framing)
end

local function header_in(head_text)
  return object.header(head_text:match("\r\n(.*\r\n)\r\n") or "")
end

--- The head of the response; `framing` as it goes to the client.
function M.response(rec, response, framing)
  local http = rec.extra.http
  http.statusCode = response.status
  http.response = {
    contentLength = length_of(response, framing),
    header = fields_of(response, rec.is_h2),
  }
end

--- The response goes to the client in another form than it came in.
-- @param sent its head as it goes
-- @param length of the body as it goes, when that is changed as a whole
function M.response_changed(rec, response, framing, sent, length)
  M.response(rec, response, framing)
  local http = rec.extra.http
  http.originalResponse = http.response
  http.originalResponse.body = body_of(rec, response.whole_before, #(response.whole_before or ""))
  http.response = {
    contentLength = length or http.response.contentLength,
    header = header_in(sent),
  }
end

function M.response_body(rec, bytes, framing)
  rec.extra.http.response.body = body_of(rec, bytes, framing)
end

--- The demand for credentials, or what is said to whoever has none.
function M.unauthorized(ctx, status)
  if ctx.recorded and ctx.recorded.http then
    ctx.recorded.http.statusCode = status
  end
end

--- A reply of the proxy's own.
function M.replied(ctx, bytes)
  local http = ctx.recorded and ctx.recorded.http
  if http then
    http.statusCode = tonumber(bytes:match("^HTTP/1%.%d (%d+)")) or 0
    http.response = { contentLength = 0, header = header_in(bytes) }
  end
end

--- The request is over: write its record.  What follows on the connection gets one of its own.
function M.finish(rec, ctx, err)
  local rx, tx = ctx.stream:counts()
  ctx.http_rx, ctx.http_tx = rx, tx
  ctx.recorded = false
  record.write(ctx, {
    up = rx - rec.rx,
    down = tx - rec.tx,
    duration = (task.now() - rec.began) / 1000,
    err = err,
  }, rec.extra)
end

return M
