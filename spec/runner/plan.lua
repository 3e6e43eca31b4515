--- Which steps the suite consists of, and which of them a command line asks for.
local schedule = require "spec.runner.schedule"

local M = {}

-- Folders of busted specs, in the order in which they run.
local SPEC_GROUPS = { "unit", "integration", "interop", "examples" }
local GROUPS = {
  "unit", "integration", "interop", "examples", "c", "lint", "fuzz", "asan", "tsan",
}
-- What words of file names choose from when no group is named.
local DEFAULT_GROUPS = {
  unit = true, integration = true, interop = true, examples = true, c = true,
}

local TIMEOUTS = { unit = 60, integration = 120, interop = 180, examples = 120 }
local BUILD_TIMEOUT = 900
local SANITIZER_SLOWNESS = 3
local FUZZ_SECONDS = 3

local function find(folder, pattern)
  local paths = {}
  local pipe = io.popen(("find %s -name '%s' 2>/dev/null | LC_ALL=C sort"):format(folder, pattern))
  for path in pipe:lines() do paths[#paths + 1] = path end
  pipe:close()
  return paths
end

local function works(command)
  return os.execute(command .. " >/dev/null 2>&1") == 0
end

-- A line "-- spec: alone, no-asan, network, timeout=300" near the top of a file.
local function directives(path)
  local found, file = {}, assert(io.open(path, "rb"))
  local head = file:read(1000) or ""
  file:close()
  for word in (head:match("\n?%-%- spec: ([^\n]*)") or ""):gmatch("[^,%s]+") do
    local key, value = word:match("^(.-)=(.*)$")
    found[key or word] = tonumber(value) or true
  end
  return found
end

-- Sanitizers dislike some kernels' address randomisation.
local function unrandomised(command)
  if works("setarch -R true") then
    return { "setarch", "-R", unpack(command) }
  end
  return command
end

-- LeakSanitizer needs ptrace, which some containers forbid.
local function leak_detection()
  local check = "d=$(mktemp -d); echo 'int main(void){return 0;}' | "
    .. "clang -fsanitize=address -x c - -o $d/t && $d/t; s=$?; rm -rf $d; exit $s"
  return works(("sh -c '%s'"):format(check:gsub("'", [['"'"']]))) and "1" or "0"
end

local function build(tree, jobs, weight)
  return {
    name = "build " .. tree, group = "build", timeout = BUILD_TIMEOUT, weight = weight,
    command = { "./dev", "build", tree, "tests" }, env = { TIDEGATE_JOBS = tostring(jobs) },
  }
end

local function spec_command(tree, path)
  return {
    tree .. "/tidegate-spec", "/usr/bin/busted", "--output=TAP",
    "--lpath=./?.lua;./?/init.lua", path,
  }
end

local function spec_step(group, path)
  local marks = directives(path)
  return {
    name = group .. " " .. path:gsub("^spec/" .. group .. "/", ""):gsub("_spec%.lua$", ""),
    group = group, file = path, tap = true, needs = { "build release" },
    command = spec_command("build", path),
    timeout = marks.timeout or TIMEOUTS[group], weight = marks.alone and math.huge or 1,
    network = marks.network,
  }
end

local function asan_spec_step(group, path, options)
  local marks = directives(path)
  if marks["no-asan"] then return nil end
  return {
    name = "asan " .. path:gsub("^spec/", ""):gsub("_spec%.lua$", ""),
    group = "asan", file = path, tap = true, count_as_one = true, needs = { "build asan" },
    command = unrandomised(spec_command("build-asan", path)),
    env = {
      TIDEGATE_SANITIZED = "1",
      ASAN_OPTIONS = "detect_leaks=0:" .. options, UBSAN_OPTIONS = options,
    },
    timeout = (marks.timeout or TIMEOUTS[group]) * SANITIZER_SLOWNESS,
    weight = marks.alone and math.huge or 1,
  }
end

local function c_step(group, tree, path, env)
  local name = path:match("([^/]+)%.c$")
  local command = { tree .. "/c-tests/" .. name }
  env.CMOCKA_MESSAGE_OUTPUT = "TAP"
  return {
    name = group .. " " .. name, group = group, file = path, tap = true,
    count_as_one = group ~= "c", timeout = 120, env = env,
    needs = { tree == "build" and "build release" or "build " .. group },
    command = group == "c" and command or unrandomised(command),
  }
end

local function fuzz_step(path)
  local name = path:match("([^/]+)_fuzz%.c$")
  local script = ([[mkdir -p "$0" && exec build-fuzz/%s_fuzz -max_total_time=%d -timeout=10 \
    -rss_limit_mb=1024 -artifact_prefix=build-fuzz/ "$0" $(ls -d spec/fuzz/corpus/%s 2>/dev/null)]]
    ):format(name, FUZZ_SECONDS, name)
  return {
    name = "fuzz " .. name, group = "fuzz", file = path, needs = { "build fuzz" }, timeout = 90,
    command = { "sh", "-c", script, "%{tmp}/corpus" },
  }
end

local function lint_steps(jobs)
  local folders = {}
  for _, folder in ipairs { "lua", "spec", "examples", "runtime", "rocks" } do
    if #find(folder, "*.lua") > 0 then folders[#folders + 1] = folder end
  end
  return {
    {
      name = "lint luacheck", group = "lint", timeout = 120,
      command = { "luacheck", "-q", "--no-color", "spec/run", unpack(folders) },
    },
    {
      name = "lint house rules", group = "lint", timeout = 60,
      command = { "luajit", "spec/runner/house.lua" },
    },
    {
      name = "lint clang-tidy", group = "lint", timeout = 600, needs = { "build asan" },
      command = { "run-clang-tidy", "-quiet", "-p", "build-asan", "-j", tostring(jobs),
                  "/(native|runtime)/.*\\.c$" },
    },
  }
end

-- Every step there is, in a good order: long builds run beside the specs of what is built.
local function all_steps()
  local jobs = math.max(1, math.floor(schedule.slots() / 2))
  local steps = { build("release", schedule.slots(), math.huge), build("asan", jobs) }
  local function add(step) steps[#steps + 1] = step end

  for _, step in ipairs(lint_steps(jobs)) do add(step) end
  for _, path in ipairs(find("spec/unit/c", "*_test.c")) do add(c_step("c", "build", path, {})) end
  for _, group in ipairs(SPEC_GROUPS) do
    for _, path in ipairs(find("spec/" .. group, "*_spec.lua")) do add(spec_step(group, path)) end
  end

  add(build("tsan", jobs))
  add(build("fuzz", jobs))
  local options = "log_path=%{tmp}/sanitizer:print_stacktrace=1"
  local leaks = leak_detection()
  for _, path in ipairs(find("spec/unit/c", "*_test.c")) do
    add(c_step("asan", "build-asan", path, {
      ASAN_OPTIONS = "detect_leaks=" .. leaks .. ":" .. options, UBSAN_OPTIONS = options,
    }))
    add(c_step("tsan", "build-tsan", path, { TSAN_OPTIONS = options }))
  end
  for _, group in ipairs(SPEC_GROUPS) do
    for _, path in ipairs(find("spec/" .. group, "*_spec.lua")) do
      add(asan_spec_step(group, path, options))
    end
  end
  for _, path in ipairs(find("spec/fuzz", "*_fuzz.c")) do add(fuzz_step(path)) end
  return steps
end

local function matches(step, groups, words)
  if groups and not groups[step.group] then return false end
  if #words == 0 then return true end
  for _, word in ipairs(words) do
    if step.file and step.file:find(word, 1, true) then return true end
  end
  return false
end

-- Keeps the chosen steps and those they need.
local function with_needs(steps, chosen)
  local wanted = {}
  for _, step in ipairs(chosen) do
    wanted[step.name] = true
    for _, need in ipairs(step.needs or {}) do wanted[need] = true end
  end
  local kept = {}
  for _, step in ipairs(steps) do
    if wanted[step.name] then kept[#kept + 1] = step end
  end
  return kept
end

--- The steps that the arguments ask for: names of groups, words of file names; none means all.
function M.select(arguments)
  local known, groups, words = {}, nil, {}
  for _, group in ipairs(GROUPS) do known[group] = true end
  for _, word in ipairs(arguments) do
    if known[word] then
      groups = groups or {}
      groups[word] = true
    else
      words[#words + 1] = word
    end
  end
  if #words > 0 and not groups then groups = DEFAULT_GROUPS end

  local steps, chosen = all_steps(), {}
  for _, step in ipairs(steps) do
    if matches(step, groups, words) then chosen[#chosen + 1] = step end
  end
  if #chosen == 0 then
    return nil, "nothing in the suite is called " .. table.concat(arguments, " ")
  end
  return with_needs(steps, chosen)
end

return M
