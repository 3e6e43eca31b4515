-- A DNS message as text, as dig and gost's records have it.

local native = require "tidegate.native.dns"

local M = {}

local OPCODES = { [0] = "QUERY", [1] = "IQUERY", [2] = "STATUS", [4] = "NOTIFY", [5] = "UPDATE" }
local FLAGS = { "response", "qr", "aa", "aa", "tc", "tc", "rd", "rd", "ra", "ra", "ad", "ad", "cd", "cd" }
local SECTIONS = { { "answers", "ANSWER" }, { "authority", "AUTHORITY" }, { "additional", "ADDITIONAL" } }

local function add_records(out, records, title)
  if #records == 0 then
    return
  end
  out[#out + 1] = ("\n;; %s SECTION:\n"):format(title)
  for _, record in ipairs(records) do
    out[#out + 1] = ("%s\t%d\t%s\t%s\t%s\n"):format(record.name, record.ttl or 0, record.class, record.type,
      record.data or "")
  end
end

--- @param message what tidegate.native.dns.parse() makes, or bytes
-- @return text; of bytes that are no message, ""
function M.of(message)
  if type(message) == "string" then
    message = native.parse(message)
    if not message then
      return ""
    end
  end
  local flags = {}
  for i = 1, #FLAGS, 2 do
    flags[#flags + 1] = message[FLAGS[i]] and " " .. FLAGS[i + 1] or nil
  end
  local edns = message.edns
  local out = {
    (";; opcode: %s, status: %s, id: %d\n;; flags:%s; QUERY: %d, ANSWER: %d, AUTHORITY: %d, ADDITIONAL: %d\n"):format(
      OPCODES[message.opcode] or "OPCODE" .. message.opcode, message.rcode, message.id, table.concat(flags),
      #message.questions, #message.answers, #message.authority, #message.additional + (edns and 1 or 0)),
  }
  if edns then
    out[2] = ("\n;; OPT PSEUDOSECTION:\n; EDNS: version %d; flags:%s; udp: %d\n"):format(edns.version or 0,
      edns.dnssec_ok and " do" or "", edns.udp_size or 0)
  end
  if #message.questions > 0 then
    out[#out + 1] = "\n;; QUESTION SECTION:\n"
    for _, question in ipairs(message.questions) do
      out[#out + 1] = (";%s\t%s\t %s\n"):format(question.name, question.class, question.type)
    end
  end
  for _, section in ipairs(SECTIONS) do
    add_records(out, message[section[1]], section[2])
  end
  return table.concat(out)
end

return M
