-- Nodes of a hop that come from a file, Redis or a URL: a JSON array of node objects in the API's schema.
--
-- To tidegate.process.loaders this is a kind of policy like any other, made of whole texts.

local M = {
  kind = "hop",
  list = "hops",
  loader = { raw = true, redis = "string" },
}

return M
