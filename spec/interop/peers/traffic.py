"""The traffic of the interop matrix: an origin, and a client that reaches it by any way.

usage: traffic.py        prints {"tcp": PORT, "udp": PORT, "control": PORT}

Each line on the control port is an order, answered with one line: {"way": {"kind": "socks5", "port": 1}, "check":
"bulk", "mib": 64} → {"ok": true} or {"error": "…"}.  A way's kind is tcp (a port that leads to the origin), socks5,
socks4a or connect (a proxy), udp (a port that leads to the origin's UDP port).
"""
import hashlib
import json
import os
import socket
import struct
import threading
import time

MIB = 1 << 20
PATIENCE = 15  # seconds for what takes no time
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close() sends RST
SIZES = [1, 100, 512, 1200]
HALF = 100000

seen = {}  # key → what the origin saw of a connection
changed = threading.Condition()


class Failed(Exception):
    pass


def note(key, value):
    with changed:
        seen[key] = value
        changed.notify_all()


def wait_for(key, patience=PATIENCE):
    with changed:
        if not changed.wait_for(lambda: key in seen, patience):
            raise Failed("the origin did not see the end within %d s" % patience)
        return seen.pop(key)


def pieces(seed, size):
    """Bytes that are different in every MiB and for every seed."""
    block = hashlib.shake_128(seed.encode()).digest(min(MIB, size))
    at = 0
    while at < size:
        part = (at.to_bytes(8, "big") + block)[: min(MIB, size - at)]
        at += len(part)
        yield part


def digest_of(parts):
    total = hashlib.sha256()
    for part in parts:
        total.update(part)
    return total.hexdigest()


def read_digest(conn, size):
    total, left = hashlib.sha256(), size
    while left > 0:
        part = conn.recv(min(left, 262144))
        if not part:
            raise Failed("the end came %d bytes early of %d" % (left, size))
        total.update(part)
        left -= len(part)
    return total.hexdigest()


def read_line(conn):
    """One line, not a byte more, so that what follows stays in the socket."""
    line = b""
    while not line.endswith(b"\n"):
        ahead = conn.recv(65536, socket.MSG_PEEK)
        if not ahead:
            raise Failed("the end came instead of a line" if not line else "the end came within a line")
        line += conn.recv(ahead.find(b"\n") + 1 or len(ahead))
    return line[:-1].decode()


def read_rest(conn):
    total = 0
    while True:
        part = conn.recv(262144)
        if not part:
            return total
        total += len(part)


def read_text(conn):
    text = b""
    while True:
        part = conn.recv(4096)
        if not part:
            return text.decode()
        text += part


def in_background(fn, *args):
    """→ a function that waits and raises what fn raised."""
    outcome = []

    def run():
        try:
            fn(*args)
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def wait(patience):
        thread.join(patience)
        if thread.is_alive():
            raise Failed("not over within %d s" % patience)
        if outcome:
            raise outcome[0]

    return wait


def send_pieces(conn, seed, size):
    for part in pieces(seed, size):
        conn.sendall(part)


# --- the origin ------------------------------------------------------------------------------------------------


def serve_exchange(conn, size, seed):
    sent = in_background(send_pieces, conn, "origin" + seed, int(size))
    got = read_digest(conn, int(size))
    sent(600)
    conn.sendall(got.encode() + b"\n")


def serve_late(conn, key):
    conn.sendall(b"x" * 1000)
    conn.shutdown(socket.SHUT_WR)
    try:
        note(key, read_rest(conn))
    except OSError as error:
        note(key, str(error))


def serve_hold(conn, key):
    conn.sendall(b"held\n")
    try:
        read_rest(conn)
        note(key, "end")
    except OSError as error:
        note(key, str(error))


def serve(conn):
    conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        while True:
            word, *rest = read_line(conn).split(" ")
            if word == "ping":
                conn.sendall(("pong " + rest[0] + "\n").encode())
            elif word == "exchange":
                serve_exchange(conn, *rest)
            elif word == "count":
                conn.sendall(b"got %d\n" % read_rest(conn))
                return
            elif word == "late":
                return serve_late(conn, rest[0])
            elif word == "hold":
                return serve_hold(conn, rest[0])
            elif word == "drop":
                conn.sendall(b"going\n")
                read_line(conn)
                conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                return
            else:
                return
    except (OSError, Failed):
        pass
    finally:
        conn.close()


def accept(listener, fn):
    while True:
        conn, _ = listener.accept()
        threading.Thread(target=fn, args=(conn,), daemon=True).start()


def listen(fn):
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    threading.Thread(target=accept, args=(listener, fn), daemon=True).start()
    return listener.getsockname()[1]


def echo_datagrams(sock):
    while True:
        data, source = sock.recvfrom(65536)
        sock.sendto(data, source)


def listen_udp():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    threading.Thread(target=echo_datagrams, args=(sock,), daemon=True).start()
    return sock.getsockname()[1]


# --- ways to it ------------------------------------------------------------------------------------------------


def read_exactly(conn, size):
    data = b""
    while len(data) < size:
        part = conn.recv(size - len(data))
        if not part:
            raise Failed("the proxy hung up during the handshake")
        data += part
    return data


def socks5_request(conn, command, host, port):
    conn.sendall(b"\5\1\0")
    if read_exactly(conn, 2) != b"\5\0":
        raise Failed("the proxy wants authentication")
    conn.sendall(b"\5" + bytes([command]) + b"\0\1" + socket.inet_aton(host) + struct.pack(">H", port))
    head = read_exactly(conn, 4)
    if head[1] != 0:
        raise Failed("SOCKS5 reply %d" % head[1])
    size = {1: 4, 4: 16}.get(head[3]) or read_exactly(conn, 1)[0]
    address = read_exactly(conn, size)
    return address, struct.unpack(">H", read_exactly(conn, 2))[0]


def socks4a_request(conn, host, port):
    conn.sendall(b"\4\1" + struct.pack(">H", port) + b"\0\0\0\1\0" + host.encode() + b"\0")
    if read_exactly(conn, 8)[1] != 90:
        raise Failed("SOCKS4 refused")


def connect_request(conn, host, port):
    conn.sendall(b"CONNECT %b:%d HTTP/1.1\r\nHost: %b:%d\r\n\r\n" % (host.encode(), port, host.encode(), port))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += read_exactly(conn, 1)
    if head.split(b" ")[1] != b"200":
        raise Failed(head.split(b"\r\n")[0].decode())


def open_way(way):
    conn = socket.create_connection((way.get("host", "127.0.0.1"), way["port"]), PATIENCE)
    conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if way["kind"] == "socks5":
        socks5_request(conn, 1, "127.0.0.1", origin_port)
    elif way["kind"] == "socks4a":
        socks4a_request(conn, "localhost", origin_port)
    elif way["kind"] == "connect":
        connect_request(conn, "127.0.0.1", origin_port)
    return conn


# --- checks ----------------------------------------------------------------------------------------------------


def ping(conn, text):
    conn.sendall(("ping " + text + "\n").encode())
    if read_line(conn) != "pong " + text:
        raise Failed("another answer")


def check_small(way, _):
    with open_way(way) as conn:
        ping(conn, "hello")


def check_bulk(way, order):
    size, patience, seed = order["mib"] * MIB, order.get("seconds", 240), "s%d" % time.monotonic_ns()
    with open_way(way) as conn:
        conn.settimeout(60)
        if way.get("greet"):
            ping(conn, "first")
        conn.sendall(("exchange %d %s\n" % (size, seed)).encode())
        sending = in_background(send_pieces, conn, "client" + seed, size)
        start = time.monotonic()
        got = read_digest(conn, size)
        if got != digest_of(pieces("origin" + seed, size)):
            raise Failed("other bytes came down")
        sending(max(1, patience - (time.monotonic() - start)))
        if read_line(conn) != digest_of(pieces("client" + seed, size)):
            raise Failed("other bytes went up")


def check_many(way, order):
    count = order["many"]
    barrier = threading.Barrier(count)
    payload = "x" * 4000

    def one(i):
        try:
            with open_way(way) as conn:
                conn.settimeout(60)
                ping(conn, "first%d" % i)
                barrier.wait(60)  # all of them are open now
                ping(conn, "%d%s" % (i, payload))
        except threading.BrokenBarrierError:
            raise Failed("not all %d came up" % count)
        except BaseException:
            barrier.abort()
            raise

    waits = [in_background(one, i) for i in range(count)]
    problem = None
    for wait in waits:
        try:
            wait(90)
        except Exception as error:
            if problem is None or isinstance(problem, Failed) and "came up" in str(problem):
                problem = error
    if problem:
        raise problem


def half_up(way):
    with open_way(way) as conn:
        conn.settimeout(10)
        conn.sendall(b"count\n" + b"x" * HALF)
        conn.shutdown(socket.SHUT_WR)
        return read_text(conn) == "got %d\n" % HALF


def half_down(way):
    key = "late%d" % time.monotonic_ns()
    with open_way(way) as conn:
        conn.settimeout(10)
        conn.sendall(("late %s\n" % key).encode())
        if read_rest(conn) != 1000:
            return False
        conn.sendall(b"y" * HALF)
        conn.shutdown(socket.SHUT_WR)
        return wait_for(key, 10) == HALF


def quietly(fn, way):
    try:
        return fn(way)
    except (OSError, Failed):
        return False


def check_half(way, order):
    up = all(quietly(half_up, way) for _ in range(5))  # what is lost at an end is lost now and then
    return {"up": up, "down": order.get("only") != "up" and quietly(half_down, way)}


def check_abrupt(way, _):
    key = "hold%d" % time.monotonic_ns()
    conn = open_way(way)
    conn.sendall(("hold %s\n" % key).encode())
    read_line(conn)
    conn.sendall(b"z" * 10000)
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    conn.close()
    wait_for(key)
    with open_way(way) as conn:
        conn.sendall(b"drop\n")
        read_line(conn)
        conn.sendall(b"now\n")
        try:
            read_rest(conn)
        except ConnectionError:
            pass
        except socket.timeout:
            raise Failed("the client did not see the origin's reset within %d s" % PATIENCE)
    check_small(way, None)


def associate(way):
    control = socket.create_connection(("127.0.0.1", way["port"]), PATIENCE)
    _, port = socks5_request(control, 3, "0.0.0.0", 0)
    head = b"\0\0\0\1" + socket.inet_aton("127.0.0.1") + struct.pack(">H", origin_udp)
    return control, port, head


def ask_datagram(sock, where, head, data):
    for _ in range(5):
        sock.sendto(head + data, where)
        try:
            while True:
                if sock.recv(65536)[len(head):] == data:
                    return
        except socket.timeout:
            pass
    raise Failed("no answer to a datagram of %d bytes" % len(data))


def check_udp(way, _):
    control, port, head = None, way["port"], b""
    if way["kind"] == "socks5":
        control, port, head = associate(way)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)
        for i in range(20):
            size = SIZES[i % len(SIZES)]
            ask_datagram(sock, ("127.0.0.1", port), head, bytes([i]) * size)
    if control:
        control.close()


CHECKS = {"small": check_small, "bulk": check_bulk, "many": check_many, "half": check_half, "abrupt": check_abrupt,
          "udp": check_udp}


def obey(order):
    start = time.monotonic()
    try:
        answer = CHECKS[order["check"]](order["way"], order) or {"ok": True}
    except (OSError, Failed) as error:
        answer = {"error": str(error) or type(error).__name__}
    answer["seconds"] = round(time.monotonic() - start, 3)
    return answer


def control(conn):
    with conn, conn.makefile("rw") as lines:
        for line in lines:
            lines.write(json.dumps(obey(json.loads(line))) + "\n")
            lines.flush()
    os._exit(0)  # who gives the orders is gone


origin_port, origin_udp = listen(serve), listen_udp()
print(json.dumps({"tcp": origin_port, "udp": origin_udp, "control": listen(control)}), flush=True)
threading.Event().wait()
