"""Echo through a proxy with PySocks.

usage: pysocks_get.py socks4|socks5|http PROXY_PORT ECHO_PORT [USER PASS]
"""
import os
import sys

import socks

kinds = {"socks4": socks.SOCKS4, "socks5": socks.SOCKS5, "http": socks.HTTP}
kind, proxy, port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
user, password = (sys.argv[4:] + [None, None])[:2]
for rdns in (True, False):
    peer = socks.socksocket()
    peer.settimeout(15)
    peer.set_proxy(kinds[kind], "127.0.0.1", proxy, rdns, user, password)
    peer.connect(("localhost" if rdns else "127.0.0.1", port))
    data = os.urandom(100000)
    peer.sendall(data)
    got = b""
    while len(got) < len(data):
        part = peer.recv(65536)
        assert part, "cut"
        got += part
    assert got == data, "differs"
    peer.close()
print("done")
