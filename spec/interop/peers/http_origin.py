"""An HTTP/1.1 origin with the corners of the protocol, and a WebSocket echo at /ws.

Prints "ready PORT" and serves until killed.
"""
import base64
import hashlib
import struct
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BLOCK = bytes(range(256)) * 256


class Origin(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def reply(self, body, status=200, **fields):
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def read_body(self):
        """Hash of the body and its trailers."""
        digest = hashlib.sha256()
        trailers = b""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                digest.update(self.rfile.read(size))
                self.rfile.readline()
            while (line := self.rfile.readline()) not in (b"\r\n", b""):
                trailers += line
        else:
            left = int(self.headers.get("Content-Length", 0))
            while left and (data := self.rfile.read(min(left, 65536))):
                digest.update(data)
                left -= len(data)
        return digest.hexdigest().encode(), trailers

    def do_GET(self):
        path = self.path
        if path == "/ws":
            return self.websocket()
        if path == "/head":
            return self.reply(self.raw_requestline + bytes(self.headers))
        if path.startswith("/big/"):
            count = int(path[5:])
            self.send_response(200)
            self.send_header("Content-Length", str(count * len(BLOCK)))
            self.end_headers()
            for _ in range(count):
                self.wfile.write(BLOCK)
            return None
        if path == "/chunks":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.send_header("Trailer", "X-Sum")
            self.end_headers()
            for part in (b"one ", b"two ", b"three"):
                self.wfile.write(b"%x;a=b\r\n%s\r\n" % (len(part), part))
                self.wfile.flush()
                time.sleep(0.02)
            self.wfile.write(b"0\r\nX-Sum: 13\r\n\r\n")
            return None
        if path == "/until-close":
            self.close_connection = True
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"as long as it takes")
            return None
        if path == "/hints":
            self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
            return self.reply(b"hinted")
        if path == "/empty":
            self.send_response(204)
            self.end_headers()
            return None
        if path == "/half":
            self.close_connection = True
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"half")
            return None
        return self.reply(b"hello from python\n", Server_Said="hello")

    do_HEAD = do_GET

    def do_POST(self):
        if self.path == "/early":
            self.close_connection = True
            return self.reply(b"too much\n", 413)
        digest, trailers = self.read_body()
        return self.reply(digest + b"\n" + trailers)

    do_PUT = do_POST

    def handle_expect_100(self):
        if self.path == "/refuse":
            self.close_connection = True
            self.reply(b"no\n", 417)
            return False
        return super().handle_expect_100()

    def websocket(self):
        accept = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(accept.encode()).digest()).decode()
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept)
        self.end_headers()
        self.close_connection = True
        while len(start := self.rfile.read(2)) == 2:
            size = start[1] & 0x7F
            if size == 126:
                size = struct.unpack(">H", self.rfile.read(2))[0]
            mask = self.rfile.read(4)
            data = bytes(b ^ mask[i % 4] for i, b in enumerate(self.rfile.read(size)))
            if start[0] & 0x0F == 8:
                self.wfile.write(b"\x88" + bytes([len(data)]) + data)
                return
            head = bytes([start[0], size]) if size < 126 else start[:1] + b"\x7e" + struct.pack(">H", size)
            self.wfile.write(head + data)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


server = Server(("127.0.0.1", 0), Origin)
print("ready", server.server_address[1], flush=True)
try:
    server.serve_forever()
except KeyboardInterrupt:
    sys.exit(0)
