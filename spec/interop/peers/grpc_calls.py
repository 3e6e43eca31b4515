"""All kinds of gRPC calls, without generated code: methods take bytes and answer with bytes.

grpc_calls.py server PORT NAME [CERT KEY]      prints the port it listens on; SIGTERM ends it
grpc_calls.py client TARGET TESTS [CA|- AUTHORITY] prints what the test has seen, one line each
"""

import sys
import threading
import time
from concurrent import futures

import grpc

SIZE = 3 * 1024 * 1024


class Server:
    def __init__(self, name):
        self.name = name
        self.cancelled = 0

    def unary(self, request, context):
        context.send_initial_metadata((("server-name", self.name), ("raw-bin", b"\0\xff")))
        context.set_trailing_metadata((("said", "goodbye"), ("length", str(len(request)))))
        return request[::-1]

    def count(self, request, _):
        for i in range(int(request)):
            yield str(i).encode()

    def total(self, requests, _):
        return str(sum(len(r) for r in requests)).encode()

    def talk(self, requests, _):
        for request in requests:
            yield b"heard " + request

    def deny(self, _, context):
        context.set_trailing_metadata((("why", "policy"),))
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "not for you, 100% sure: ü")

    def fail_late(self, _, context):
        yield b"first"
        context.abort(grpc.StatusCode.DATA_LOSS, "half way")

    def watch(self, _, context):
        """Says nothing until the caller has gone."""
        gone = threading.Event()

        def over():
            self.cancelled += 1
            gone.set()

        context.add_callback(over)
        yield b"watching"
        gone.wait(60)

    def cancels(self, _, __):
        return str(self.cancelled).encode()


def serve(port, name, cert=None, key=None):
    own = Server(name)
    kinds = {
        "Unary": grpc.unary_unary_rpc_method_handler(own.unary),
        "Count": grpc.unary_stream_rpc_method_handler(own.count),
        "Total": grpc.stream_unary_rpc_method_handler(own.total),
        "Talk": grpc.stream_stream_rpc_method_handler(own.talk),
        "Deny": grpc.unary_unary_rpc_method_handler(own.deny),
        "FailLate": grpc.unary_stream_rpc_method_handler(own.fail_late),
        "Watch": grpc.unary_stream_rpc_method_handler(own.watch),
        "Cancels": grpc.unary_unary_rpc_method_handler(own.cancels),
    }
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=64))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Calls", kinds),))
    where = "127.0.0.1:" + port
    if cert:
        with open(cert, "rb") as certificate, open(key, "rb") as private:
            credentials = grpc.ssl_server_credentials([(private.read(), certificate.read())])
        bound = server.add_secure_port(where, credentials)
    else:
        bound = server.add_insecure_port(where)
    server.start()
    print(bound, flush=True)
    server.wait_for_termination()


def path(method):
    return "/test.Calls/" + method


def test_unary(channel):
    answer, call = channel.unary_unary(path("Unary")).with_call(b"abc", metadata=(("key", "v"),), timeout=10)
    first, last = dict(call.initial_metadata()), dict(call.trailing_metadata())
    print(answer.decode(), first["server-name"], first["raw-bin"] == b"\0\xff", last["said"], last["length"])


def test_large(channel):
    data = bytes(range(256)) * (SIZE // 256)
    answer = channel.unary_unary(path("Unary"))(data, timeout=30)
    print(len(answer), answer == data[::-1])


def test_server_stream(channel):
    print(sum(int(x) for x in channel.unary_stream(path("Count"))(b"1000", timeout=20)))


def test_client_stream(channel):
    print(channel.stream_unary(path("Total"))((b"x" * 1000 for _ in range(500)), timeout=20).decode())


def test_bidi(channel):
    said = []
    go_on = threading.Semaphore(1)

    def questions():
        for i in range(20):
            go_on.acquire()
            yield b"%d" % i

    for answer in channel.stream_stream(path("Talk"))(questions(), timeout=20):
        said.append(answer.decode())
        go_on.release()
    print(len(said), said[0], said[-1])


def test_errors(channel):
    for method, kind in (("Deny", "unary_unary"), ("FailLate", "unary_stream"), ("Nowhere", "unary_unary")):
        try:
            made = getattr(channel, kind)(path(method))(b"", timeout=10)
            print(method, [x.decode() for x in made] if kind == "unary_stream" else made)
        except grpc.RpcError as error:
            print(method, error.code().name, error.details(), dict(error.trailing_metadata() or ()).get("why", "-"))


def cancels(channel):
    return int(channel.unary_unary(path("Cancels"))(b"", timeout=10))


def wait_cancels(channel, before):
    end = time.time() + 10
    while cancels(channel) == before and time.time() < end:
        time.sleep(0.05)
    return cancels(channel) - before


def test_cancel(channel):
    before = cancels(channel)
    call = channel.unary_stream(path("Watch"))(b"")
    print(next(call).decode())
    call.cancel()
    print(wait_cancels(channel, before))


def test_deadline(channel):
    before = cancels(channel)
    try:
        for answer in channel.unary_stream(path("Watch"))(b"", timeout=2):
            print(answer.decode())
    except grpc.RpcError as error:
        print(error.code().name)
    print(wait_cancels(channel, before))


def test_many(channel):
    calls = [channel.unary_unary(path("Unary")).future(b"%d" % i, timeout=30) for i in range(300)]
    print(all(call.result() == (b"%d" % i)[::-1] for i, call in enumerate(calls)))


def client(target, tests, authority_file="-", authority=None):
    options = [("grpc.max_receive_message_length", 64 << 20), ("grpc.enable_retries", 0)]
    if authority_file != "-":
        with open(authority_file, "rb") as file:
            credentials = grpc.ssl_channel_credentials(file.read())
        options.append(("grpc.ssl_target_name_override", authority))
        channel = grpc.secure_channel(target, credentials, options)
    else:
        if authority:
            options.append(("grpc.default_authority", authority))
        channel = grpc.insecure_channel(target, options)
    with channel:
        for name in tests.split(","):
            globals()["test_" + name](channel)


if __name__ == "__main__":
    {"server": serve, "client": client}[sys.argv[1]](*sys.argv[2:])
