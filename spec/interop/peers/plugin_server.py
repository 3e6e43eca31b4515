"""A plugin of every kind, over HTTP or gRPC, as gost's documentation has users write them.

plugin_server.py http|grpc [--port N] [--token T] [--fault status|garbage|hang] [--cert FILE --key FILE]

Prints "ready PORT", then one line of JSON for each call: {"call", "request", "token", "peer"}; over HTTP
also "verb", "type" and "raw".  The messages are made of descriptors below, without a protocol compiler.
"""

import argparse
import base64
import json
import ssl
import sys
import threading
import time
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

LOOKUP = {"network": 1, "host": 2, "client": 3}
IPS = {"ips": (1, "list"), "ok": (2, "bool")}
OK = {"ok": (1, "bool")}
RECORD = {"id": 1, "name": 2, "node": 3, "network": 4, "address": 5}
CHANGE = {"service": (1, RECORD)}

# service → method → (request, reply); fields are name → number of a string, or (number, type)
SERVICES = {
    "Authenticator": {"Authenticate": (
        {"username": 1, "password": 2, "client": 3, "service": 4, "client_cn": 5, "client_san": (6, "list"),
         "client_cert_fingerprint": 7}, {"ok": (1, "bool"), "id": 2})},
    "Admission": {"Admit": ({"addr": 1, "service": 2, "network": 3}, OK)},
    "Bypass": {"Bypass": ({"addr": 1, "client": 2, "network": 3, "host": 4, "path": 5, "service": 6}, OK)},
    "HostMapper": {"Lookup": (LOOKUP, IPS)},
    "Resolver": {"Resolve": (LOOKUP, IPS)},
    "Ingress": {"GetRule": ({"host": 1, "service": 2}, {"endpoint": 1}),
                "SetRule": ({"host": 1, "endpoint": 2, "service": 3}, OK)},
    "SD": {"Register": (CHANGE, OK), "Deregister": (CHANGE, OK), "Renew": (CHANGE, OK),
           "Get": ({"name": 1}, {"services": (1, [RECORD])})},
    "Router": {"GetRoute": ({"dst": 1, "id": 2}, {"dst": 1, "gateway": 2})},
    "Hop": {"Select": ({"network": 1, "addr": 2, "host": 3, "client": 4, "path": 5, "src": 6},
                       {"node": (1, "bytes")})},
    "Limiter": {"Limit": ({"network": 1, "addr": 2, "client": 3, "src": 4, "service": 5, "scope": 6},
                          {"in": (1, "int64"), "out": (2, "int64")})},
    "Observer": {"Observe": ({"events": (1, [{
        "kind": 1, "service": 2, "client": 3, "type": 4,
        "stats": (5, {"totalConns": (1, "uint64"), "currentConns": (2, "uint64"), "inputBytes": (3, "uint64"),
                      "outputBytes": (4, "uint64"), "totalErrs": (5, "uint64")}),
        "status": (6, {"state": 1, "msg": 2})}])}, OK)},
    "Recorder": {"Record": ({"data": (1, "bytes"), "metadata": (2, "bytes")}, OK)},
    "Rewriter": {"Rewrite": ({"data": (1, "bytes"), "metadata": (2, "bytes")},
                             {"ok": (1, "bool"), "data": (2, "bytes")})},
}

# What plugins decide ------------------------------------------------------------------------------

KNOWN = {}  # of service discovery


def lookup(request):
    host = request.get("host")
    if host == "local.test":
        return {"ips": ["127.0.0.1"], "ok": True}
    ips = ["192.0.2.1", "no address", "2001:db8::1"] if host in ("known.test", "notok.test") else []
    return {"ips": ips, "ok": host == "known.test"}


def register(request):
    record = request["service"]
    KNOWN[(record["name"], record["id"])] = record
    return {"ok": True}


def deregister(request):
    KNOWN.pop((request["service"]["name"], request["service"]["id"]), None)
    return {"ok": False}


def rewrite(request):
    return {"ok": request["data"] != b"leave", "data": request["data"].upper()}


DECIDE = {
    "Authenticate": lambda r: {"ok": (r.get("username"), r.get("password")) == ("gost", "gost"), "id": "id-of-gost"},
    "Admit": lambda r: {"ok": r["addr"].startswith("127.0.0.1:")},
    "Bypass": lambda r: {"ok": "blocked" in r["addr"]},
    "Lookup": lookup,
    "Resolve": lookup,
    "GetRule": lambda r: {"endpoint": "tunnel-1" if r["host"] == "app.test" else ""},
    "SetRule": lambda r: {"ok": r["endpoint"] != "no"},
    "Register": register,
    "Renew": lambda r: {"ok": True},
    "Deregister": deregister,
    "Get": lambda r: {"services": [v for k, v in sorted(KNOWN.items()) if k[0] == r["name"]]},
    "GetRoute": lambda r: {"dst": "10.0.0.0/8", "gateway": "gw-" + r.get("id", "")} if r["dst"] == "10.1.2.3" else {},
    "Select": lambda r: {"node": json.dumps({"name": "n", "addr": r["host"], "connector": {"type": "http"}}).encode()
                         if r.get("host") else b""},
    "Limit": lambda r: {"in": -1 if r.get("client") == "free" else 1048576, "out": 524288},
    "Observe": lambda r: {"ok": len(r["events"]) < 3},
    "Record": lambda r: {"ok": r["data"] != b"bad"},
    "Rewrite": rewrite,
}


LOCK = threading.Lock()


def note(call, request, token, **more):
    line = {"call": call, "request": request, "token": token, **more}
    text = json.dumps(line, default=lambda b: {"bytes": base64.b64encode(b).decode()})
    with LOCK:
        print(text, flush=True)


# HTTP ---------------------------------------------------------------------------------------------

PATHS = {
    ("POST", "/auther"): "Authenticate", ("POST", "/admission"): "Admit", ("POST", "/bypass"): "Bypass",
    ("POST", "/hosts"): "Lookup", ("POST", "/resolver"): "Resolve", ("GET", "/ingress"): "GetRule",
    ("PUT", "/ingress"): "SetRule", ("POST", "/sd"): "Register", ("DELETE", "/sd"): "Deregister",
    ("PUT", "/sd"): "Renew", ("GET", "/sd"): "Get", ("GET", "/router"): "GetRoute", ("POST", "/hop"): "Select",
    ("POST", "/limiter"): "Limit", ("POST", "/observer"): "Observe", ("POST", "/recorder"): "Record",
    ("POST", "/rewriter"): "Rewrite",
}


def from_json(call, body):
    if call in ("Register", "Renew", "Deregister"):
        return {"service": body}
    if call in ("Record", "Rewrite"):
        return {key: base64.b64decode(value, validate=True) for key, value in body.items()}
    return body


def to_json(call, reply):
    if call == "Select":
        return reply["node"] or b"{}"
    if call == "Rewrite":
        reply = dict(reply, data=base64.b64encode(reply["data"]).decode())
    if call == "GetRoute" and reply:
        reply = {"net": reply["dst"], "gateway": reply["gateway"]}
    return json.dumps(reply).encode() + b"\n"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        call = PATHS.get((self.command, url.path))
        body = json.loads(raw) if raw else dict(parse_qsl(url.query, keep_blank_values=True))
        token = self.headers.get("Authorization", "")
        note(call, body, token, verb=self.command, type=self.headers.get("Content-Type"), raw=raw.decode(),
             peer=self.client_address[1])
        status, out = 200, b""
        if OPTIONS.fault == "hang":
            time.sleep(600)
        elif OPTIONS.fault == "garbage":
            out = b"\xff{not json"
        elif OPTIONS.fault == "status" or call is None:
            status = 500
        elif OPTIONS.token and token != "Bearer " + OPTIONS.token:
            status = 401
        else:
            out = to_json(call, DECIDE[call](from_json(call, body)))
        self.send_response(status)
        self.send_header("Content-Length", str(len(out)))
        self.end_headers()
        self.wfile.write(out)

    do_GET = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def serve_http():
    server = Server(("127.0.0.1", OPTIONS.port), Handler)
    if OPTIONS.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(OPTIONS.cert, OPTIONS.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    print("ready", server.server_address[1], flush=True)
    server.serve_forever()


# gRPC ---------------------------------------------------------------------------------------------

def serve_grpc():
    import grpc
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    types = descriptor_pb2.FieldDescriptorProto
    scalars = {"string": types.TYPE_STRING, "bytes": types.TYPE_BYTES, "bool": types.TYPE_BOOL,
               "int64": types.TYPE_INT64, "uint64": types.TYPE_UINT64}
    file = descriptor_pb2.FileDescriptorProto(name="plugins.proto", package="proto", syntax="proto3")

    def declare(name, fields):
        made = descriptor_pb2.DescriptorProto(name=name)
        for field, spec in fields.items():
            number, kind = spec if isinstance(spec, tuple) else (spec, "string")
            one = made.field.add(name=field, number=number, label=types.LABEL_OPTIONAL)
            if kind == "list" or isinstance(kind, list):
                one.label = types.LABEL_REPEATED
                kind = "string" if kind == "list" else kind[0]
            if isinstance(kind, dict):
                declare(name + "_" + field, kind)
                one.type, one.type_name = types.TYPE_MESSAGE, ".proto." + name + "_" + field
            else:
                one.type = scalars[kind]
        file.message_type.append(made)

    for methods in SERVICES.values():
        for method, (request, reply) in methods.items():
            declare(method + "Request", request)
            declare(method + "Reply", reply)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    factory = message_factory.MessageFactory(pool)

    def message(name):
        return factory.GetPrototype(pool.FindMessageTypeByName("proto." + name))

    def plain(value):
        """A message as a dictionary that has every field, bytes as bytes."""
        out = {}
        for field in value.DESCRIPTOR.fields:
            item = getattr(value, field.name)
            if field.message_type and field.label == field.LABEL_REPEATED:
                out[field.name] = [plain(one) for one in item]
            elif field.message_type:
                out[field.name] = plain(item) if value.HasField(field.name) else None
            elif field.label == field.LABEL_REPEATED:
                out[field.name] = list(item)
            else:
                out[field.name] = item
        return out

    def handler(method):
        def run(request, context):
            fields = plain(request)
            token = dict(context.invocation_metadata()).get("token", "")
            note(method, fields, token, peer=context.peer())
            if OPTIONS.fault == "hang":
                time.sleep(600)
            elif OPTIONS.fault == "status":
                context.abort(grpc.StatusCode.INTERNAL, "made to fail")
            elif OPTIONS.token and token != OPTIONS.token:
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")
            return DECIDE[method](fields)

        reply = message(method + "Reply")

        def serialize(value):
            if OPTIONS.fault == "garbage":
                return b"\xff\xff\xff"
            return reply(**value).SerializeToString()

        return grpc.unary_unary_rpc_method_handler(
            run, request_deserializer=message(method + "Request").FromString, response_serializer=serialize)

    server = grpc.server(futures.ThreadPoolExecutor(max_workers=32))
    for service, methods in SERVICES.items():
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(
            "proto." + service, {method: handler(method) for method in methods}),))
    where = "127.0.0.1:%d" % OPTIONS.port
    if OPTIONS.cert:
        with open(OPTIONS.key, "rb") as key, open(OPTIONS.cert, "rb") as cert:
            port = server.add_secure_port(where, grpc.ssl_server_credentials([(key.read(), cert.read())]))
    else:
        port = server.add_insecure_port(where)
    server.start()
    print("ready", port, flush=True)
    server.wait_for_termination()


parser = argparse.ArgumentParser()
parser.add_argument("protocol", choices=["http", "grpc"])
parser.add_argument("--port", type=int, default=0)
parser.add_argument("--token", default="")
parser.add_argument("--fault", default="")
parser.add_argument("--cert", default="")
parser.add_argument("--key", default="")
OPTIONS = parser.parse_args()

if OPTIONS.protocol == "http":
    serve_http()
else:
    serve_grpc()
sys.exit(0)
