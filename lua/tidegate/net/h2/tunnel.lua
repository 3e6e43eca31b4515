-- A raw stream per HTTP/2 request, as gost frames it: the listeners and dialers h2 and h2c.

local dial = require "tidegate.net.h2.dial"
local h2 = require "tidegate.native.h2"
local failure = require "tidegate.failure"
local header = require "tidegate.net.http.header"
local listen = require "tidegate.net.h2.listen"

local M = {}

-- Serving -------------------------------------------------------------------------------------------

--- Keys of the listeners.
function M.listener_metadata()
  return listen.with {
    path = {
      type = "string",
      default = "",
      doc = "the request's path; empty: the method has to be CONNECT",
    },
  }
end

--- What a listener does with each stream.  @return the stream, answered | nil, err
function M.accept_stream(self, ctx, stream)
  local headers, err = h2.headers(stream)
  if not headers then
    return nil, err
  end
  local path = self.md.path
  if path == "" and headers[":method"] ~= "CONNECT" then
    return listen.refuse(stream, 405, ("method %s without a configured path"):format(
      headers[":method"]))
  elseif path ~= "" and headers[":path"] ~= path then
    return listen.refuse(stream, 400, ("path %s is not %s"):format(headers[":path"] or "-", path))
  end
  listen.name_client(ctx, headers)
  local ok
  ok, err = h2.respond(stream, { ":status", "200", "date", header.date() })
  if not ok then
    return nil, err
  end
  return stream
end

-- Dialing -------------------------------------------------------------------------------------------

--- Keys of the dialers.
function M.dialer_metadata()
  return dial.with {
    host = { type = "string", default = "", doc = "the request's authority instead of the node's" },
    path = { type = "string", default = "", doc = "the request's path; empty: method CONNECT" },
    header = { type = "map", doc = "header fields added to the request" },
  }
end

--- The request's header, the same for all streams of a node.
function M.request_fields(self, scheme)
  local md = self.md
  local host = md.host ~= "" and md.host or self.node.addr
  local fields
  if md.path == "" then
    fields = { ":method", "CONNECT", ":authority", host }
  else
    fields = { ":method", "GET", ":scheme", scheme, ":path", md.path, ":authority", host }
  end
  return dial.add_fields(fields, md.header)
end

local function answered(stream)
  local headers, err = h2.headers(stream)
  if not headers then
    return nil, err
  elseif headers[":status"] ~= "200" then
    return nil, failure.new("protocol", ("the server answers %s; method or path may differ"):format(
      headers[":status"] or "without a status"), { layer = "h2", op = "request" })
  end
  return stream
end

--- What a dialer does.  @return stream | nil, err
function M.dial(self, ctx, node, deadline)
  return dial.stream(self, ctx, node, deadline, self.fields, answered, true)
end

return M
