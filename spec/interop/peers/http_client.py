"""Exercises an HTTP proxy with python-requests and with bytes of its own.

http_client.py PROXY_PORT ORIGIN_PORT: prints one "ok NAME" line per check.
"""
import base64
import hashlib
import os
import socket
import struct
import sys

import requests

PROXY, ORIGIN = int(sys.argv[1]), int(sys.argv[2])
BASE = f"http://127.0.0.1:{ORIGIN}"
SESSION = requests.Session()
SESSION.trust_env = False
SESSION.proxies = {"http": f"http://127.0.0.1:{PROXY}", "https": f"http://127.0.0.1:{PROXY}"}


def check(name, good):
    if not good:
        sys.exit(f"FAILED {name}")
    print("ok", name)


def connect():
    s = socket.create_connection(("127.0.0.1", PROXY), 10)
    return s, s.makefile("rb")


def head_of(f):
    lines = []
    while (line := f.readline()) not in (b"\r\n", b""):
        lines.append(line)
    return b"".join(lines) + line


def pieces(data, size):
    for i in range(0, len(data), size):
        yield data[i:i + size]


def with_requests():
    r = SESSION.get(BASE + "/")
    check("get", r.text == "hello from python\n" and r.headers["Server-Said"] == "hello")
    check("head", SESSION.head(BASE + "/").headers["Content-Length"] == "18")
    check("chunks", SESSION.get(BASE + "/chunks").text == "one two three")
    check("until close", SESSION.get(BASE + "/until-close").text == "as long as it takes")
    check("empty", SESSION.get(BASE + "/empty").status_code == 204)

    data = os.urandom(3_000_000)
    digest = hashlib.sha256(data).hexdigest() + "\n"
    check("post", SESSION.post(BASE + "/", data=data).text == digest)
    check("put in chunks", SESSION.put(BASE + "/", data=pieces(data, 7001)).text == digest)
    check("after a body", SESSION.get(BASE + "/").ok)
    big = SESSION.get(BASE + "/big/200", stream=True)
    body = hashlib.sha256()
    total = 0
    for part in big.iter_content(100_000):
        body.update(part)
        total += len(part)
    block = bytes(range(256)) * 256
    check("download", total == 200 * 65536 and body.digest() == hashlib.sha256(block * 200).digest())
    check("early answer", SESSION.post(BASE + "/early", data=b"x" * 5_000_000).status_code == 413)
    try:
        answer = SESSION.get(BASE + "/half")  # older releases leave counting to the caller
        check("half", len(answer.content) < int(answer.headers["Content-Length"]))
    except requests.exceptions.RequestException:
        check("half", True)
    check("nobody", SESSION.get("http://127.0.0.1:1/").status_code == 503)


def websocket():
    s, f = connect()
    key = base64.b64encode(os.urandom(16)).decode()
    s.sendall(f"GET {BASE}/ws HTTP/1.1\r\nHost: 127.0.0.1:{ORIGIN}\r\nUpgrade: websocket\r\n"
              f"Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n"
              f"Sec-WebSocket-Key: {key}\r\n\r\n".encode())
    head = head_of(f)
    accept = base64.b64encode(hashlib.sha1(
        (key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest())
    check("upgrade", head.startswith(b"HTTP/1.1 101 ") and accept in head)
    for size in (0, 5, 125, 126, 20000):
        data, mask = os.urandom(size), os.urandom(4)
        length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack(">H", size)
        s.sendall(b"\x82" + length + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(data)))
        start = f.read(2)
        got = start[1] if start[1] < 126 else struct.unpack(">H", f.read(2))[0]
        check(f"frame of {size}", f.read(got) == data)
    s.close()


def raw():
    s, f = connect()
    request = f"GET {BASE}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    s.sendall(request * 20)
    for _ in range(20):
        head = head_of(f)
        if not head.startswith(b"HTTP/1.1 200 ") or f.read(18) != b"hello from python\n":
            check("pipelining", False)
    check("pipelining", True)

    s.sendall(f"POST {BASE}/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
              "5\r\nhello\r\n0\r\nX-Trailer: yes\r\n\r\n".encode())
    head_of(f)
    check("trailers up", f.readline() == hashlib.sha256(b"hello").hexdigest().encode() + b"\n"
          and f.readline() == b"X-Trailer: yes\r\n")
    s.sendall(f"GET {BASE}/chunks HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head_of(f)
    chunks = (b"4;a=b\r\none \r\n4;a=b\r\ntwo \r\n5;a=b\r\nthree\r\n"
              b"0\r\nX-Sum: 13\r\n\r\n")
    check("trailers down", f.read(len(chunks)) == chunks)
    s.close()

    s, f = connect()
    s.sendall(f"PUT {BASE}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
              "Expect: 100-continue\r\n\r\n".encode())
    check("continue", head_of(f).startswith(b"HTTP/1.1 100 "))
    s.sendall(b"hello")
    check("continued", head_of(f).startswith(b"HTTP/1.1 200 "))
    s.close()

    s, f = connect()
    s.sendall(f"PUT {BASE}/refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
              "Expect: 100-continue\r\n\r\n".encode())
    check("refused", head_of(f).startswith(b"HTTP/1.1 417 ") and f.read() == b"no\n")
    s.close()

    s, f = connect()
    s.sendall(f"GET {BASE}/hints HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    check("hints", head_of(f) == b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
          and head_of(f).startswith(b"HTTP/1.1 200 ") and f.read(6) == b"hinted")
    s.close()

    s, f = connect()
    s.sendall(f"GET {BASE}/chunks HTTP/1.0\r\n\r\n".encode())
    head = head_of(f)
    check("chunks for 1.0", head.startswith(b"HTTP/1.0 200 ") and b"hunked" not in head
          and f.read() == b"one two three")
    s.close()

    s, f = connect()
    s.sendall(f"CONNECT 127.0.0.1:{ORIGIN} HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    check("tunnel", head_of(f).startswith(b"HTTP/1.1 200 "))
    check("early bytes", head_of(f).startswith(b"HTTP/1.1 200 ") and f.read(5) == b"hello")
    s.shutdown(socket.SHUT_WR)
    check("half-close", f.read() == b" from python\n")
    s.close()


with_requests()
websocket()
raw()
print("done")
