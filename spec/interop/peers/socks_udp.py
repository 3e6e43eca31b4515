"""Ask a DNS server for the address of a name through a SOCKS5 proxy's UDP ASSOCIATE, with PySocks.

usage: socks_udp.py PROXY_PORT DNS_PORT NAME [DNS_HOST]
"""
import struct
import sys

import socks

proxy_port, dns_port, name = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
host = sys.argv[4] if len(sys.argv) > 4 else "127.0.0.1"
question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
query = struct.pack(">6H", 0x7467, 0x0100, 1, 0, 0, 0) + question + struct.pack(">2H", 1, 1)

sock = socks.socksocket(socks.socket.AF_INET, socks.socket.SOCK_DGRAM)
sock.set_proxy(socks.SOCKS5, "127.0.0.1", proxy_port)
sock.settimeout(10)
sock.sendto(query, (host, dns_port))
answer, source = sock.recvfrom(4096)
assert answer[:2] == query[:2], answer
assert source[1] == dns_port, source
print(".".join(str(byte) for byte in answer[-4:]))
