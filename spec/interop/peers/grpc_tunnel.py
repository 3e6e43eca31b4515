"""gost's gRPC tunnel from the client's side: sends standard input, prints what comes back.

grpc_tunnel.py PORT PATH [CA]: TLS when a CA is named.
"""

import sys

import grpc


def varint(n):
    out = b""
    while n >= 128:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def chunk(data):
    return b"\x0a" + varint(len(data)) + data


def data_of(message):
    assert message[:1] == b"\x0a", message[:20]
    size, shift, at = 0, 0, 1
    while True:
        byte = message[at]
        size |= (byte & 127) << shift
        shift += 7
        at += 1
        if byte < 128:
            break
    assert len(message) == at + size
    return message[at:]


def main():
    where = "localhost:" + sys.argv[1]
    if len(sys.argv) > 3:
        with open(sys.argv[3], "rb") as ca:
            channel = grpc.secure_channel(where, grpc.ssl_channel_credentials(ca.read()))
    else:
        channel = grpc.insecure_channel(where)
    call = channel.stream_stream(sys.argv[2])
    body = sys.stdin.buffer.read()
    pieces = [chunk(body[i:i + 50000]) for i in range(0, len(body), 50000)]
    # a message without data, and a field nobody knows
    pieces.insert(1, b"")
    pieces[0] = b"\x10\x05\x1a\x02hi" + pieces[0]
    try:
        for message in call(iter(pieces), timeout=20):
            sys.stdout.buffer.write(data_of(message))
    except grpc.RpcError as error:
        print(error.code().name, error.details(), file=sys.stderr)
        sys.exit(2)


main()
