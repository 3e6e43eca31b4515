"""An SSH client that asks for too much: ssh_flood.py PORT USER PASSWORD HOST:PORT COUNT

Opens COUNT channels and prints how many it got; with COUNT 0 it carries 1 MiB there and back over one.
"""
import sys

import paramiko

port, user, password, target, count = sys.argv[1:6]
host, target_port = target.rsplit(":", 1)
transport = paramiko.Transport(("127.0.0.1", int(port)))
transport.start_client(timeout=20)
transport.auth_password(user, password)


def channel():
    return transport.open_channel("direct-tcpip", (host, int(target_port)), ("127.0.0.1", 1), timeout=20)


if int(count) == 0:
    sent = bytes(range(256)) * 4096
    one = channel()
    one.sendall(sent)
    one.shutdown_write()
    got = b""
    while True:
        part = one.recv(65536)
        if not part:
            break
        got += part
    print("same" if got == sent else "different", flush=True)
else:
    held = []
    for _ in range(int(count)):
        try:
            held.append(channel())
        except paramiko.ChannelException:
            pass
    for kind in ("session", "x11", "auth-agent@openssh.com", "nonsense"):
        try:
            transport.open_channel(kind, src_addr=("127.0.0.1", 1), timeout=20)
            print("opened", kind)
        except paramiko.ChannelException:
            pass
    print(len(held), flush=True)
transport.close()
