-- Base64 (RFC 4648): credentials and encoded host names in HTTP heads, bytes in JSON.

return require "tidegate.native.base64"
