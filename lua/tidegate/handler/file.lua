-- Files of a folder over HTTP: ranges, conditions, lists of folders, and uploads where they are allowed.

local base64 = require "tidegate.net.http.base64"
local body = require "tidegate.native.body"
local component = require "tidegate.component"
local conditions = require "tidegate.handler.file.conditions"
local failure = require "tidegate.failure"
local folder = require "tidegate.native.folder"
local head = require "tidegate.net.http.head"
local linger = require "tidegate.net.linger"
local paths = require "tidegate.handler.file.path"
local reply = require "tidegate.handler.http.reply"
local task = require "tidegate.native.task"
local type_of = require "tidegate.handler.file.types"

local IDLE = 120 -- seconds between requests
local STALL_MS = 60000 -- without progress of a body
local DRAIN_MAX = 256 * 1024 -- of a body nobody asked for
local ENOENT, EACCES, ENOTDIR, EISDIR, ENAMETOOLONG, EPERM = 2, 13, 20, 21, 36, 1
local STATUS = { [ENOENT] = 404, [ENOTDIR] = 404, [ENAMETOOLONG] = 404, [EACCES] = 403, [EPERM] = 403, [EISDIR] = 409 }

local function lines_of(fields)
  local lines = {}
  for i = 1, #fields, 2 do
    lines[#lines + 1] = fields[i] .. ": " .. fields[i + 1] .. "\r\n"
  end
  return table.concat(lines)
end

-- The head of an answer.
local function head_of(request, status, fields)
  return reply.status_line(status) .. lines_of(fields) .. lines_of { "Date", conditions.date(os.time()) }
    .. (request.persistent and "" or "Connection: close\r\n") .. "\r\n"
end

-- A short answer.
local function say(stream, request, status, text, fields)
  fields = fields or {}
  fields[#fields + 1] = "Content-Length"
  fields[#fields + 1] = tostring(#text)
  if text ~= "" then
    fields[#fields + 1] = "Content-Type"
    fields[#fields + 1] = fields.html and "text/html; charset=utf-8" or "text/plain; charset=utf-8"
  end
  stream:set_deadline(task.now() + STALL_MS)
  return stream:write(head_of(request, status, fields), request.method == "HEAD" and "" or text)
end

local function refuse(stream, request, status, fields)
  local words = reply.status_line(status):match "^%S+ %d+ (.-)\r\n"
  return say(stream, request, status, words .. "\n", fields)
end

local function redirect(stream, request, to)
  local query = request.target:match "%?[^#]*" or ""
  return say(stream, request, 301, "", { "Location", to .. query })
end

-- Reading ----------------------------------------------------------------------------------------

local function send_file(stream, request, file, content, name)
  local fields = {
    "Accept-Ranges", "bytes", "Last-Modified", conditions.date(file.mtime), "ETag", file.tag,
  }
  local status = conditions.check(request, file)
  if status == 304 then
    stream:set_deadline(task.now() + STALL_MS)
    return stream:write(head_of(request, 304, fields))
  elseif status then
    return refuse(stream, request, status)
  end
  local first, last = conditions.range(request, file)
  if first == false then
    return refuse(stream, request, 416, { "Content-Range", ("bytes */%d"):format(file.size) })
  end
  local length = first and last - first + 1 or file.size
  if first then
    fields[#fields + 1] = "Content-Range"
    fields[#fields + 1] = ("bytes %d-%d/%d"):format(first, last, file.size)
    local ok, err = folder.seek(content, first)
    if not ok then
      return nil, err
    end
  end
  for _, text in ipairs { "Content-Length", ("%d"):format(length), "Content-Type", type_of(name) } do
    fields[#fields + 1] = text
  end
  local text = head_of(request, first and 206 or 200, fields)
  stream:set_deadline(nil)
  if request.method == "HEAD" or length == 0 then
    return stream:write(text)
  end
  local sent, err = body.copy(content, stream, length, text, nil, STALL_MS)
  return sent, err
end

local function send_list(self, stream, request, path)
  local names, err, sys = self.folder:list(path)
  if not names then
    return refuse(stream, request, STATUS[sys] or 500), err
  end
  for _, one in ipairs(names) do
    one.name = one[1] .. (one[2] and "/" or "")
  end
  table.sort(names, function(a, b)
    return a.name < b.name
  end)
  local lines = { '<!doctype html>\n<meta name="viewport" content="width=device-width">\n<pre>\n' }
  for _, one in ipairs(names) do
    local link = paths.escape(one.name)
    link = link:find ":" and "./" .. link or link
    lines[#lines + 1] = ('<a href="%s">%s</a>\n'):format(paths.html(link), paths.html(one.name))
  end
  lines[#lines + 1] = "</pre>\n"
  return say(stream, request, 200, table.concat(lines), { html = true })
end

local function get(self, stream, request, path, slash, asked)
  if asked:find "/index%.html$" then
    return redirect(stream, request, "./")
  end
  local found, content, sys = self.folder:find(path)
  if not found then
    return refuse(stream, request, STATUS[sys] or 500)
  elseif found.directory then
    if not slash then
      return redirect(stream, request, "./" .. paths.escape(path:match "[^/]*$") .. "/")
    end
    local index = path == "" and "index.html" or path .. "/index.html"
    local page, bytes = self.folder:find(index)
    if not page or page.directory then
      return send_list(self, stream, request, path)
    end
    found, content, path = page, bytes, index
  elseif slash then
    content:close()
    return redirect(stream, request, "../" .. paths.escape(path:match "[^/]*$"))
  end
  found.tag = ('"%s"'):format(found.stamp)
  local ok, err = send_file(stream, request, found, content, path)
  content:close()
  return ok, err
end

-- Writing ----------------------------------------------------------------------------------------

-- @return the answer's status, or nil, err: the client is gone
local function take(stream, request, content, upload)
  if request.expects then
    local ok, err = stream:write "HTTP/1.1 100 Continue\r\n\r\n"
    if not ok then
      return nil, err
    end
  end
  stream:set_deadline(nil)
  local got, err, side = body.copy(stream, content, head.request_framing(request), nil, STALL_MS, nil, "plain")
  content:close()
  if not got and side == "to" then
    request.persistent = false
    return 507, err
  elseif not got then
    return nil, err
  end
  local ok, why, sys = upload:commit()
  if not ok then
    return STATUS[sys] or 500, why
  end
  return 201
end

local function put(self, ctx, stream, request, path, slash)
  if path == "" or slash then
    request.persistent = false
    return refuse(stream, request, 400)
  end
  local content, upload, sys = self.folder:create(path)
  if not content then
    request.persistent = false
    return refuse(stream, request, STATUS[sys] or 500)
  end
  local status, err = take(stream, request, content, upload)
  upload:close()
  if not status then
    return nil, err
  elseif err then
    ctx.log:warn(("PUT %s: %s"):format(path, tostring(err)))
  end
  return refuse(stream, request, status)
end

-- Requests ---------------------------------------------------------------------------------------

local function is_allowed(ctx, request)
  if not ctx:needs_auth() then
    return true
  end
  local encoded = (head.get(request, "authorization") or ""):match "^[Bb]asic +(.*)$"
  local plain = encoded and base64.decode(encoded) or ""
  local user, password = plain:match "^([^:]*):(.*)$"
  return ctx:authenticate(user or "", password or "")
end

-- A body that means nothing here goes by, if it is short.
local function skip_body(stream, request)
  local framing = head.request_framing(request)
  if framing == 0 then
    return
  elseif framing == "chunked" or framing > DRAIN_MAX or request.expects
    or not body.copy(stream, nil, framing, nil, STALL_MS) then
    request.persistent = false
  end
end

-- @return true | nil, err, whether it was refused
local function answer(self, ctx, stream, request)
  local method = request.method
  local is_upload = method == "PUT" and self.md["file.put"]
  local allowed, denied = is_allowed(ctx, request)
  if not (is_upload and allowed) then
    skip_body(stream, request)
  end
  if not allowed then
    local ok, err = refuse(stream, request, 401, { "WWW-Authenticate", 'Basic realm="gost"' })
    return ok and nil, ok and denied or err, ok
  elseif not is_upload and method ~= "GET" and method ~= "HEAD" then
    return refuse(stream, request, 405, { "Allow", self.md["file.put"] and "GET, HEAD, PUT" or "GET, HEAD" })
  end
  local path, slash, asked = paths.parse(request.target)
  if not path then
    request.persistent = request.persistent and not is_upload
    return refuse(stream, request, 400)
  elseif is_upload then
    return put(self, ctx, stream, request, path, slash)
  end
  return get(self, stream, request, path, slash, asked)
end

local function handle(self, ctx, stream)
  local persistent = true
  local refused
  while persistent do
    stream:set_deadline(ctx:after(IDLE))
    local request, err = head.request(stream)
    if not request then
      if err.code == "protocol" or err.code == "limit" then
        refuse(stream, { method = "GET" }, 400)
        linger(stream)
        return nil, err:during "http request"
      end
      return err.code == "eof" or err.code == "timeout" or nil, err
    end
    local ok, why, told = answer(self, ctx, stream, request)
    if not ok and not told then
      return nil, why
    end
    refused = not ok and why or nil
    if refused then
      ctx.log:warn(tostring(refused))
    end
    persistent = request.persistent
  end
  linger(stream)
  return true
end

local function open(self)
  local where = self.md["file.dir"]
  local err
  self.folder, err = folder.open(where ~= "" and where or ".")
  if not self.folder then
    return nil, failure.new("config", ("file.dir: %s: %s"):format(where, tostring(err)))
  end
  return true
end

return component.handler "file" {
  doc = "serves the files of a folder over HTTP",
  metadata = {
    ["file.dir"] = { type = "string", aliases = { "dir" }, default = "", doc = "the folder; where tidegate runs" },
    ["file.put"] = { type = "bool", aliases = { "put" }, default = false, doc = "take uploads (PUT)" },
  },
  open = open,

  close = function(self)
    self.folder:close()
  end,
  handle = handle,
}
