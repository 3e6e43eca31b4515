"""A gRPC server without generated code: methods take bytes and answer with bytes.

grpc_server.py PORT [CERT KEY]: prints the port it listens on.  SIGTERM ends it.
"""

import sys
import time
from concurrent import futures

import grpc


def echo(request, context):
    token = dict(context.invocation_metadata()).get("token", "")
    return request + token.encode()


def deny(_, context):
    context.abort(grpc.StatusCode.PERMISSION_DENIED, "not for you, 100% sure: ü")


def slow(request, _):
    time.sleep(2)
    return request


def empty(_, __):
    return b""


METHODS = {"Echo": echo, "Deny": deny, "Slow": slow, "Empty": empty}


def main():
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=32))
    handlers = {name: grpc.unary_unary_rpc_method_handler(fn) for name, fn in METHODS.items()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", handlers),))
    where = "127.0.0.1:" + sys.argv[1]
    if len(sys.argv) > 2:
        with open(sys.argv[2], "rb") as cert, open(sys.argv[3], "rb") as key:
            credentials = grpc.ssl_server_credentials([(key.read(), cert.read())])
        port = server.add_secure_port(where, credentials)
    else:
        port = server.add_insecure_port(where)
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


main()
