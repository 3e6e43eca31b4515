"""Mixed traffic for a while: SOCKS5, CONNECT, HTTP, UDP and a TLS chain; every byte compared.

usage: soak.py TIDEGATE SECONDS

Prints, every 30 s, how many exchanges of each kind succeeded and failed, and the resident memory
(KiB) and descriptors of the three tidegates.  Ends with 1 when anything failed.
"""
import os
import random
import re
import socket
import struct
import subprocess
import sys
import threading
import time

TIDEGATE, SECONDS = sys.argv[1], int(sys.argv[2])
FAR, SOCKS, CHAIN, HTTP, ORIGIN, UDP = range(25001, 25007)
KINDS = ["socks5", "socks5 by chain", "http", "http by chain", "udp"]
good, bad = [0] * 5, [0] * 5


def start(*args):
    env = dict(os.environ, GOST_LOGGER_LEVEL="error")
    return subprocess.Popen([TIDEGATE, "--workers", "2", "--drain", "0s", *args], env=env)


def serve(client):
    try:
        data = client.recv(65536)
        if data.startswith(b"GET"):
            head = b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\nConnection: close\r\n\r\n"
            client.sendall(head + b"y" * 2000)
        else:
            while data:
                client.sendall(data)
                data = client.recv(65536)
    except OSError:
        pass
    client.close()


def origin():
    server = socket.create_server(("127.0.0.1", ORIGIN), backlog=512)
    while True:
        threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()


def udp_echo():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", UDP))
    while True:
        data, peer = sock.recvfrom(4096)
        sock.sendto(data, peer)


def exactly(sock, count):
    data = b""
    while len(data) < count:
        part = sock.recv(count - len(data))
        if not part:
            raise OSError("end of input")
        data += part
    return data


def socks(port, command=1, target=ORIGIN):
    sock = socket.create_connection(("127.0.0.1", port), 20)
    sock.sendall(b"\5\1\0")
    exactly(sock, 2)
    sock.sendall(struct.pack(">BBBB4sH", 5, command, 0, 1, b"\x7f\0\0\1", target))
    return sock, struct.unpack(">H", exactly(sock, 10)[8:])[0]


def tunnel(port, rng):
    sock, _ = socks(port)
    for _ in range(rng.randrange(1, 4)):
        data = os.urandom(rng.choice([10, 1000, 100000, 300000]))
        sender = threading.Thread(target=sock.sendall, args=(data,))
        sender.start()
        assert exactly(sock, len(data)) == data
        sender.join()
    if rng.random() < 0.3:  # torn down rather than closed
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def get(port):
    sock = socket.create_connection(("127.0.0.1", port), 20)
    sock.sendall(f"GET http://127.0.0.1:{ORIGIN}/x HTTP/1.1\r\nHost: 127.0.0.1:{ORIGIN}\r\n\r\n".encode())
    answer = b""
    while not answer.endswith(b"y" * 2000):
        part = sock.recv(65536)
        assert part, answer[:80]
        answer += part
    assert answer.startswith(b"HTTP/1.1 200"), answer[:80]
    sock.close()


def datagrams():
    control, port = socks(SOCKS, 3, 0)
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(10)
    sock.connect(("127.0.0.1", port))
    for _ in range(3):
        sock.send(b"\0\0\0\1\x7f\0\0\1" + struct.pack(">H", UDP) + b"ping")
        assert sock.recv(100).endswith(b"ping")
    sock.close()
    control.close()


def work(seed, until):
    rng = random.Random(seed)
    while time.time() < until:
        kind = rng.randrange(5)
        try:
            if kind < 2:
                tunnel((SOCKS, CHAIN)[kind], rng)
            elif kind < 4:
                get((HTTP, CHAIN)[kind - 2])
            else:
                datagrams()
            good[kind] += 1
        except Exception as error:
            bad[kind] += 1
            if bad[kind] < 4:
                print(KINDS[kind], repr(error), flush=True)


def memory(process):
    with open(f"/proc/{process.pid}/status") as status:
        resident = int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1))
    return resident, len(os.listdir(f"/proc/{process.pid}/fd"))


for job in origin, udp_echo:
    threading.Thread(target=job, daemon=True).start()
proxies = [
    start("-L", f"relay+tls://u:p@127.0.0.1:{FAR}"),
    start("-L", f"socks5://127.0.0.1:{SOCKS}?udp=true", "-L", f"http://127.0.0.1:{HTTP}"),
    start("-L", f"auto://127.0.0.1:{CHAIN}", "-F", f"relay+tls://u:p@127.0.0.1:{FAR}"),
]
time.sleep(2)
begin = time.time()
workers = [threading.Thread(target=work, args=(n, begin + SECONDS)) for n in range(12)]
for worker in workers:
    worker.start()
while time.time() < begin + SECONDS:
    time.sleep(min(30, max(0.1, begin + SECONDS - time.time())))
    print(int(time.time() - begin), good, bad, [memory(p) for p in proxies], flush=True)
for worker in workers:
    worker.join()
time.sleep(3)
print("end", dict(zip(KINDS, good)), bad, [memory(p) for p in proxies])
for proxy in proxies:
    proxy.terminate()
codes = [proxy.wait() for proxy in proxies]
sys.exit(1 if any(bad) or any(codes) else 0)
