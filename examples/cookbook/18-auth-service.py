# Answers whether a user may come in.  Port: the first argument.
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import json
import sys

USERS = {"ann": "secret", "bob": "builder"}


class Auth(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = self.headers["Authorization"] == "Bearer between-us"
        ok = known and USERS.get(asked["username"]) == asked["password"]
        answer = json.dumps({"ok": ok, "id": asked["username"]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Auth).serve_forever()
