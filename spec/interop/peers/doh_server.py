"""DNS over HTTPS (RFC 8484, POST) over HTTP/1.1, with dnspython.

usage: doh_server.py CERT KEY NAME ADDRESS [MODE]     MODE: ok, error (status 500), garbage

Prints "ready PORT", and "post" for every query, "connection" for every connection.
"""

import http.server
import ssl
import sys

import dns.message
import dns.rcode
import dns.rrset

CERT, KEY, NAME, ADDRESS = sys.argv[1:5]
MODE = sys.argv[5] if len(sys.argv) > 5 else "ok"


def answer(query):
    reply = dns.message.make_response(query)
    question = query.question[0]
    if question.name.to_text().lower() != NAME + ".":
        reply.set_rcode(dns.rcode.NXDOMAIN)
    elif question.rdtype == 1:
        reply.answer.append(dns.rrset.from_text(question.name, 60, "IN", "A", ADDRESS))
    return reply.to_wire()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        print("connection", flush=True)

    def do_POST(self):
        print("post", flush=True)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        good = self.headers["Content-Type"] == "application/dns-message" and self.path == "/dns-query"
        bytes_out = b"garbage" if MODE == "garbage" else answer(dns.message.from_wire(body))
        self.send_response(200 if good and MODE != "error" else 500)
        self.send_header("Content-Type", "application/dns-message")
        self.send_header("Content-Length", str(len(bytes_out)))
        self.end_headers()
        self.wfile.write(bytes_out)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERT, KEY)
server.socket = context.wrap_socket(server.socket, server_side=True)
print("ready", server.server_address[1], flush=True)
server.serve_forever()
