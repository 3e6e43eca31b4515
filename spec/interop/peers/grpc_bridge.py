"""TCP connections as calls of gost's gRPC tunnel by grpcio, one each.

usage: grpc_bridge.py client PORT SERVER_PORT [CA]         listens on PORT
       grpc_bridge.py server PORT TARGET [CERT KEY]        serves on PORT, connects each call to the port TARGET
"""
import asyncio
import sys

import grpc

METHOD = "/GostTunel/Tunnel"
UNBOUND = [("grpc.max_receive_message_length", -1)]


def varint(n):
    out = b""
    while n >= 128:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def chunk(data):
    return b"\x0a" + varint(len(data)) + data


def data_of(message):
    """The message has one field, the first, of bytes."""
    if not message:
        return b""
    assert message[:1] == b"\x0a", message[:20]
    at = 1
    while message[at] & 128:
        at += 1
    return message[at + 1:]


async def client(port, where, ca=None):
    if ca:
        with open(ca, "rb") as file:
            credentials = grpc.ssl_channel_credentials(file.read())
        channel = grpc.aio.secure_channel("localhost:" + where, credentials, UNBOUND)
    else:
        channel = grpc.aio.insecure_channel("127.0.0.1:" + where, UNBOUND)
    tunnel = channel.stream_stream(METHOD)

    async def send(reader, call):
        while True:
            part = await reader.read(65536)
            if not part:
                return await call.done_writing()
            await call.write(chunk(part))

    async def receive(call, writer):
        while True:
            message = await call.read()
            if message is grpc.aio.EOF:
                if (await call.code()) != grpc.StatusCode.OK:
                    raise ConnectionError(await call.details())
                return writer.write_eof()
            writer.write(data_of(message))
            await writer.drain()

    async def serve(reader, writer):
        call = tunnel()
        both = [asyncio.create_task(send(reader, call)), asyncio.create_task(receive(call, writer))]
        try:
            await asyncio.gather(*both)
        except (OSError, grpc.aio.AioRpcError, asyncio.InvalidStateError):
            call.cancel()
            writer.transport.abort()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=512)
    await server.serve_forever()


async def serve(port, target, *files):
    async def tunnel(_, context):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(target))

        async def up():
            while True:
                message = await context.read()
                if message is grpc.aio.EOF:
                    return writer.write_eof()
                writer.write(data_of(message))
                await writer.drain()

        sending = asyncio.create_task(up())
        try:
            while True:
                part = await reader.read(65536)
                if not part:
                    break
                await context.write(chunk(part))
            await sending
        except ConnectionError:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the target is gone")
        finally:
            sending.cancel()
            writer.close()

    server = grpc.aio.server(options=UNBOUND)
    handlers = {"Tunnel": grpc.stream_stream_rpc_method_handler(tunnel)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("GostTunel", handlers),))
    where = "127.0.0.1:%d" % port
    if files:
        with open(files[0], "rb") as cert, open(files[1], "rb") as key:
            server.add_secure_port(where, grpc.ssl_server_credentials([(key.read(), cert.read())]))
    else:
        server.add_insecure_port(where)
    await server.start()
    await server.wait_for_termination()


if sys.argv[1] == "client":
    asyncio.run(client(int(sys.argv[2]), *sys.argv[3:]))
else:
    asyncio.run(serve(int(sys.argv[2]), *sys.argv[3:]))
