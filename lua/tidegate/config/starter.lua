-- The configuration to begin with: what `tidegate init` writes and the package installs.

local M = {}

--- Where it is written unless told otherwise.
M.PATH = "tidegate.yml"

--- Its text.  A line that begins with "#" and no blank, or two, is an example and may be uncommented.
M.TEXT = [[
# tidegate: what listens, what is spoken there, and the way out.
#
# `tidegate check -C tidegate.yml` finds all that is wrong with this file;
# `tidegate -C tidegate.yml` serves; SIGHUP reads the file again, connections go on.
#
# Every key is described in tidegate.yml(5) and in docs/reference.  The same in fewer words is
# `tidegate -L auto://127.0.0.1:1080`; `tidegate convert` translates between the two.

services:
  # HTTP, SOCKS4 and SOCKS5 on one port, for this machine only.
  - name: local
    addr: 127.0.0.1:1080
    handler:
      type: auto
#      chain: out                 # go through the proxies below instead of directly
#      auther: users              # ask for a user and a password
    listener:
      type: tcp
#    bypass: private              # refuse to go to these targets

  # A port that leads to one target, or to several in turn.
#  - name: forward
#    addr: 127.0.0.1:8022
#    handler:
#      type: tcp
#    listener:
#      type: tcp
#    forwarder:
#      nodes:
#        - name: first
#          addr: 192.0.2.10:22
#        - name: second
#          addr: 192.0.2.11:22

# The way out: hops in order; of the nodes of a hop one is chosen, and a broken one left alone.
#chains:
#  - name: out
#    hops:
#      - name: far
#        selector:
#          strategy: fifo
#          maxFails: 1
#          failTimeout: 30s
#        nodes:
#          - name: primary
#            addr: proxy.example.org:8443
#            connector:
#              type: relay
#              auth:
#                username: me
#                password: secret
#            dialer:
#              type: tls
#              tls:
#                secure: true
#                serverName: proxy.example.org

# Who may use a service.
#authers:
#  - name: users
#    auths:
#      - username: me
#        password: secret

# Targets that are refused: addresses, networks, names with * and .example.org.
#bypasses:
#  - name: private
#    matchers:
#      - 10.0.0.0/8
#      - 192.168.0.0/16

# Decisions of your own, in Lua (docs/scripting.md).
#scripts:
#  - rules.lua

# The Web API, for this machine only.
#api:
#  addr: 127.0.0.1:18080
#  auth:
#    username: admin
#    password: secret

#log:
#  level: debug
#  format: text
]]

return M
