"""Many clients through a SOCKS5 proxy to an endless source, or the source itself.

usage: clients.py source PORT          an endless source; says "ready"
       clients.py echo PORT            says hello to whoever comes, leaves when they do; says "ready"
       clients.py hold PROXY PORT N    N tunnels, each having read a little; says "ready" and keeps them
       clients.py loop PROXY PORT N    the same one after the other, each closed at once
"""
import resource
import selectors
import socket
import struct
import sys


def source(port):
    server = socket.create_server(("127.0.0.1", port), backlog=2048)
    server.setblocking(False)
    chooser = selectors.DefaultSelector()
    chooser.register(server, selectors.EVENT_READ)
    data = b"x" * 65536
    print("ready", flush=True)
    while True:
        for key, _ in chooser.select():
            if key.fileobj is server:
                peer, _ = server.accept()
                peer.setblocking(False)
                chooser.register(peer, selectors.EVENT_WRITE)
                continue
            try:
                key.fileobj.send(data)
            except BlockingIOError:
                pass
            except OSError:
                chooser.unregister(key.fileobj)
                key.fileobj.close()


def greeter(port):
    server = socket.create_server(("127.0.0.1", port), backlog=2048)
    chooser = selectors.DefaultSelector()
    chooser.register(server, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for key, _ in chooser.select():
            if key.fileobj is server:
                peer, _ = server.accept()
                peer.sendall(b"hello" * 12)
                chooser.register(peer, selectors.EVENT_READ)
            else:
                chooser.unregister(key.fileobj)
                key.fileobj.close()


def tunnel(proxy, port):
    sock = socket.create_connection(("127.0.0.1", proxy), timeout=20)
    sock.sendall(b"\5\1\0")
    assert sock.recv(2) == b"\5\0"
    sock.sendall(b"\5\1\0\1\x7f\0\0\1" + struct.pack(">H", port))
    reply = b""
    while len(reply) < 10:
        part = sock.recv(10 - len(reply))
        assert part, reply
        reply += part
    assert reply[1] == 0, reply
    assert sock.recv(10000)
    return sock


def hold(proxy, port, count):
    held = [tunnel(proxy, port) for _ in range(count)]
    print("ready", len(held), flush=True)
    sys.stdin.read()
    import time
    time.sleep(600)


def loop(proxy, port, count):
    for _ in range(count):
        tunnel(proxy, port).close()


resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
if sys.argv[1] == "source":
    source(int(sys.argv[2]))
elif sys.argv[1] == "echo":
    greeter(int(sys.argv[2]))
else:
    {"hold": hold, "loop": loop}[sys.argv[1]](*map(int, sys.argv[2:5]))
