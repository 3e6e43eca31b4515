-- The interop matrix in small: the pairs whose peers install quickly, with little traffic.  ./dev interop runs all.
-- spec: timeout=300, no-asan

local helpers = require "spec.helpers"
local interop = require "spec.helpers.interop"

describe("interop matrix", function()
  for _, peer in ipairs(interop.peers()) do
    local missing = interop.missing(peer)
    if missing then
      pending(("%s: %s"):format(peer.name, missing))
    end
    for _, pair in ipairs(missing and {} or peer.pairs) do
      if pair.quick then
        it(("%s, %s, as %s"):format(peer.name, pair.protocol, pair.role), helpers.task(function()
          local results, err, log = interop.run(pair, interop.QUICK)
          assert(results, err)
          for _, check in ipairs(interop.CHECKS) do
            local result = results[check] or {}
            assert(result.state ~= "failed", ("%s: %s\n%s"):format(check, result.why, log))
          end
        end, 60))
      end
    end
  end
end)
