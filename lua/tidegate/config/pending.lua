-- What gost's configuration can say and this version cannot do.  Saying it is an error at start,
-- never ignored.  Whoever builds a feature deletes its lines here.

local pending = {}

--- Lists and objects of the root; what refers to an object of such a list is pending with it.
pending.root = {}

--- Fields by object.
pending.fields = {
  listener = { chainGroup = "choosing among chains" },
}

--- Metadata keys, by Lua pattern on the lower-cased key, unless the component's schema has the key.
pending.metadata = {}

return pending
