"""A long path, and what moves through it, for spec/bench/mux.lua.

  far.py late PORT TO-PORT MS MBYTES   forward connections: what is read goes on MS later, MBYTES a second at most
  far.py rate ENTRY TO-PORT SECONDS    bytes a second of a download behind a SOCKS5 server (ENTRY 0: without one),
                                       measured after the first two seconds
"""

import collections
import socket
import struct
import sys
import threading
import time


def late(port, to, ms, mbytes):
    delay, rate = ms / 1000, mbytes * 1e6
    most = int(rate * (delay + 0.1))  # on the way, and 100 ms in its queue

    def one_way(source, sink):
        parts, news, held = collections.deque(), threading.Condition(), [0]

        def forward():
            while True:
                with news:
                    while not parts:
                        news.wait()
                    data, due = parts.popleft()
                wait = due - time.monotonic()
                if wait > 0:
                    time.sleep(wait)
                try:
                    sink.sendall(data) if data else sink.shutdown(socket.SHUT_WR)
                except OSError:
                    return
                with news:
                    held[0] -= len(data)
                    news.notify_all()
                if not data:
                    return

        threading.Thread(target=forward, daemon=True).start()
        free_at = 0
        while True:
            try:
                data = source.recv(262144)
            except OSError:
                data = b""
            now = time.monotonic()
            free_at = max(free_at, now) + len(data) / rate
            with news:
                while held[0] > most:
                    news.wait()
                held[0] += len(data)
                parts.append((data, free_at + delay))
                news.notify_all()
            if not data:
                return

    server = socket.create_server(("127.0.0.1", port))
    print("ready", flush=True)
    while True:
        client, _ = server.accept()
        origin = socket.create_connection(("127.0.0.1", to))
        for pair in ((client, origin), (origin, client)):
            pair[1].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=one_way, args=pair, daemon=True).start()


def rate(entry, to, seconds):
    sock = socket.create_connection(("127.0.0.1", entry or to))
    if entry:
        sock.sendall(b"\5\1\0\5\1\0\1\177\0\0\1" + struct.pack(">H", to))
        head = b""
        while len(head) < 12:
            head += sock.recv(12 - len(head))
    got, begin, since = 0, time.monotonic(), None
    while time.monotonic() < begin + 2 + seconds:
        data = sock.recv(1048576)
        if not data:
            break
        if time.monotonic() >= begin + 2:
            since = since or time.monotonic()
            got += len(data)
    print(got / (time.monotonic() - since) if since else 0, flush=True)


{"late": late, "rate": rate}[sys.argv[1]](*map(int, sys.argv[2:]))
