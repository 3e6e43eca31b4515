-- Content types by the ends of names.

local TYPES = {
  avif = "image/avif", css = "text/css; charset=utf-8", csv = "text/csv; charset=utf-8", gif = "image/gif",
  gz = "application/gzip", htm = "text/html; charset=utf-8", html = "text/html; charset=utf-8",
  ico = "image/x-icon", jpeg = "image/jpeg", jpg = "image/jpeg", js = "text/javascript; charset=utf-8",
  json = "application/json", md = "text/markdown; charset=utf-8", mjs = "text/javascript; charset=utf-8",
  mp3 = "audio/mpeg", mp4 = "video/mp4", ogg = "audio/ogg", pdf = "application/pdf", png = "image/png",
  svg = "image/svg+xml", tar = "application/x-tar", txt = "text/plain; charset=utf-8", wasm = "application/wasm",
  webm = "video/webm", webp = "image/webp", woff2 = "font/woff2", xml = "text/xml; charset=utf-8",
  yaml = "application/yaml", yml = "application/yaml", zip = "application/zip",
}

--- @return the type of a file of this name
return function(name)
  return TYPES[(name:match "%.([%w]+)$" or ""):lower()] or "application/octet-stream"
end
