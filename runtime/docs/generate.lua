-- ./dev docs: writes the reference, the manual pages and the completions.  Run from the top of the
-- repository by tidegate-spec, which has every component.

package.path = "./?.lua;" .. package.path

for _, part in ipairs {
  "runtime.docs.markdown", "runtime.docs.man", "runtime.docs.completions", "spec.helpers.matrix_page",
} do
  for path, text in pairs(require(part).pages()) do
    os.execute("mkdir -p '" .. path:match "^(.*)/" .. "'")
    local file = assert(io.open(path, "wb"))
    file:write(text)
    file:close()
  end
end
