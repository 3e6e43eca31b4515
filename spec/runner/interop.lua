-- ./dev interop [PEER...]: runs the interop matrix at full size and writes docs/interop.md.  Run from the top of the
-- repository by tidegate-spec.  Results are kept in build/interop.json, so that one peer can be run again alone.

package.path = "./?.lua;./?/init.lua;" .. package.path

local json = require "cjson"
local interop = require "spec.helpers.interop"
local page = require "spec.runner.interop_page"

local KEPT, PAGE, LOG = "build/interop.json", "docs/interop.md", "build/interop.log"

local function read(path)
  local file = io.open(path, "rb")
  local text = file and file:read "*a"
  if file then
    file:close()
  end
  return text
end

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

local function say(format, ...)
  io.stderr:write(format:format(...), "\n")
end

local function line_of(pair, results)
  local words = {}
  for _, check in ipairs(interop.CHECKS) do
    local result = results[check]
    if result and result.seconds then
      words[#words + 1] = ("%s %s %.1fs"):format(check, result.state, result.seconds)
    elseif result then
      words[#words + 1] = check .. " " .. result.state
    end
  end
  return ("  %-28s %-12s %s"):format(pair.protocol, pair.role, table.concat(words, ", "))
end

local function complain(results, log)
  local failed
  for _, check in ipairs(interop.CHECKS) do
    local result = results[check]
    if result and result.state == "failed" then
      failed = true
      say("    %s FAILED: %s", check, result.why)
    end
  end
  if failed then
    write(LOG, log)
    say("    what tidegate said is in %s", LOG)
  end
  return failed
end

local function row_of(pair, results)
  return { protocol = pair.protocol, role = pair.role, ours = pair.ours, note = pair.note, results = results }
end

-- → true when everything passed
local function run_pair(pair, rows)
  local results, err, log = interop.run(pair, interop.FULL)
  if not results then
    say("  %-28s %-12s did not start: %s", pair.protocol, pair.role, err)
    write(LOG, log)
    results = { small = { state = "failed", why = "did not start: " .. err:gsub("\n.*", "") } }
    rows[#rows + 1] = row_of(pair, results)
    return false
  end
  say("%s", line_of(pair, results))
  rows[#rows + 1] = row_of(pair, results)
  return not complain(results, log)
end

local function run_peer(peer, only)
  local reason = interop.missing(peer)
  if reason then
    say("%s: not run: %s", peer.name, reason)
    return { name = peer.name, missing = reason, count = #peer.pairs }, true
  end
  local kept = { name = peer.name, version = interop.version(peer), about = peer.about, rows = {} }
  say("%s %s", kept.name, kept.version)
  local good = true
  for _, pair in ipairs(peer.pairs) do
    if not only or (pair.protocol .. " " .. pair.role):find(only, 1, true) then
      good = run_pair(pair, kept.rows) and good
    end
  end
  return kept, good
end

local function main(wanted, only)
  local all, good, complete = json.decode(read(KEPT) or "{}"), true, true
  for _, peer in ipairs(interop.peers()) do
    if #wanted == 0 or (" " .. table.concat(wanted, " ") .. " "):find(" " .. peer.name .. " ", 1, true) then
      local kept, passed = run_peer(peer, only)
      good = good and passed
      if not only then
        all[peer.name] = kept
        write(KEPT, json.encode(all))
      end
    end
    complete = complete and all[peer.name] ~= nil
  end
  if complete and not only then
    write(PAGE, page.write(interop.peers(), all))
    say("%s", PAGE .. " is written")
  end
  return good
end

local wanted, only = {}, nil
for _, word in ipairs(arg) do
  local text = word:match "^%-%-only=(.*)$"
  if text then
    only = text
  else
    wanted[#wanted + 1] = word
  end
end
if not main(wanted, only) then
  error "some pairs failed"
end
