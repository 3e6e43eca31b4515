-- ./dev fuzz: what it finds goes to the build folder, the checkout's corpus is only read.

local helpers = require "spec.helpers"
local programs = require "spec.helpers.programs"

-- Stands in for a target: adds to the corpus it is told to write, and breaks.
local TARGET = [[#!/bin/sh
for arg; do
  case $arg in
  -artifact_prefix=*) prefix=${arg#*=} ;;
  -*) ;;
  *) break ;;
  esac
  shift
done
echo new >"$1/new"
cat "$2/seed"
echo bad >"${prefix}crash-1234"
exit 77
]]

describe("dev fuzz", function()
  after_each(helpers.task(programs.stop_all))

  it("leaves the checkout alone and names what breaks a target", helpers.task(function()
    local root = programs.folder()
    programs.output("mkdir", { "-p", root .. "/build-fuzz", root .. "/spec/fuzz/corpus/thing" })
    programs.output("cp", { "dev", root .. "/dev" })
    programs.file(root .. "/spec/fuzz/corpus/thing", "seed", "the seed")
    programs.file(root .. "/build-fuzz", "CMakeCache.txt", "CMAKE_HOME_DIRECTORY:INTERNAL=" .. root .. "\n")
    programs.file(root .. "/build-fuzz", "build.ninja", "build all: phony\n")
    programs.file(root .. "/build-fuzz", "thing_fuzz", TARGET)
    programs.output("chmod", { "+x", root .. "/build-fuzz/thing_fuzz" })

    local run = programs.run(root .. "/dev", { "fuzz", "thing", "1" })
    assert.equal(1, run.code, run.stderr)
    assert.truthy(run.stdout:find("the seed", 1, true))
    assert.truthy(run.stderr:find(root .. "/build-fuzz/thing-crash-1234", 1, true))
    assert.equal("seed\n", programs.output("ls", { root .. "/spec/fuzz/corpus/thing" }))
    assert.equal("new\n", programs.output("ls", { root .. "/build-fuzz/corpus/thing" }))
  end))
end)
