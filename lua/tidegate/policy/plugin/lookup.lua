-- What hosts and resolvers ask.

local addr = require "tidegate.net.addr"

local M = {}

--- The question, to a method of gRPC.
function M.question(path)
  return {
    path = path,
    verb = "POST",
    request = { { 1, "network", "string" }, { 2, "host", "string" }, { 3, "client", "string" } },
    reply = { { 1, "ips", "string", repeated = true }, { 2, "ok", "bool" } },
  }
end

--- The addresses of a reply that are some.  @return list | nil
function M.addresses(reply)
  local ips = {}
  for _, ip in ipairs(reply.ips) do
    if addr.is_ip(ip) then
      ips[#ips + 1] = ip
    end
  end
  return ips[1] and ips or nil
end

return M
