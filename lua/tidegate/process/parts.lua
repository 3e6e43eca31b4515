-- The parts of gost's "--": each is this program again.  The first failure ends us with 1.

local task = require "tidegate.native.task"
local uv = require "luv"

local M = {}

--- Run one process for each list of arguments.  @return exit code
function M.run(list)
  local over = task.waiter()
  local left, failed = #list, false
  local executable = uv.exepath()
  for index, argv in ipairs(list) do
    local env = { "_GOST_ID=" .. (index - 1) }
    for name, value in pairs(uv.os_environ()) do
      if name ~= "_GOST_ID" then
        env[#env + 1] = name .. "=" .. value
      end
    end
    local handle, err = uv.spawn(executable, { args = argv, env = env, stdio = { nil, 1, 2 } }, function(code, signal)
      left = left - 1
      if code ~= 0 or signal ~= 0 then
        failed = true
        io.stderr:write(("tidegate: worker %d ended with %s\n"):format(
          index - 1, signal ~= 0 and "signal " .. signal or "exit status " .. code))
      end
      if failed or left == 0 then
        over:wake(true)
      end
    end)
    if not handle then
      io.stderr:write("tidegate: cannot start a worker: ", tostring(err), "\n")
      return 1
    end
  end
  over:wait()
  return failed and 1 or 0
end

return M
