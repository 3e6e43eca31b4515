-- Files that are carried somewhere and compared.

local programs = require "spec.helpers.programs"

local M = {}

--- @return the hash of a file
function M.md5(path)
  return programs.output("md5sum", { path }):match "^%x+"
end

--- Write a file of random bytes.  @return its hash
function M.random(path, mib)
  programs.output("dd", { "if=/dev/urandom", "of=" .. path, "bs=1M", "count=" .. mib, "status=none" })
  return M.md5(path)
end

return M
