-- ./dev docs: writes the reference, the manual pages and the completions.  Run from the top of the
-- repository by tidegate-spec, which has every component.

package.path = "./?.lua;" .. package.path

for _, part in ipairs { "markdown", "man", "completions" } do
  for path, text in pairs(require("runtime.docs." .. part).pages()) do
    os.execute("mkdir -p '" .. path:match "^(.*)/" .. "'")
    local file = assert(io.open(path, "wb"))
    file:write(text)
    file:close()
  end
end
