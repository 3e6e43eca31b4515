"""A client of the listener ssh by paramiko, with gost's own channels: ssh_tunnel.py PORT USER PASSWORD

Carries 1 MiB there and back over each of ten channels of one connection, all at once.
"""
import sys
import threading

import paramiko

port, user, password = sys.argv[1:4]
transport = paramiko.Transport(("127.0.0.1", int(port)))
transport.start_client(timeout=20)
transport.auth_password(user, password)
results = []


def carry(number):
    sent = bytes((number + i) % 256 for i in range(256)) * 4096
    channel = transport.open_channel("gost-tunnel", timeout=20)
    writer = threading.Thread(target=channel.sendall, args=(sent,), daemon=True)
    writer.start()
    got = b""
    while len(got) < len(sent):
        part = channel.recv(65536)
        if not part:
            break
        got += part
    channel.close()
    results.append(got == sent)


carriers = [threading.Thread(target=carry, args=(number,)) for number in range(10)]
for one in carriers:
    one.start()
for one in carriers:
    one.join()
print(results.count(True), flush=True)
transport.close()
