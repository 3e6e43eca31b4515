"""TCP connections as WebSockets by the package `websockets`, one each.

usage: ws_bridge.py client PORT URL [CA]   listens on PORT, opens URL for each connection
       ws_bridge.py server PORT TARGET     serves WebSockets on PORT, connects each to the port TARGET
"""
import asyncio
import ssl
import sys

import websockets


async def down(reader, socket):
    while True:
        part = await reader.read(65536)
        if not part:
            return
        await socket.send(part)


async def up(socket, writer):
    async for message in socket:
        writer.write(message)
        await writer.drain()


async def join(reader, writer, socket):
    """A WebSocket has no half-close: the end of either side is the end of both."""
    both = [asyncio.create_task(down(reader, socket)), asyncio.create_task(up(socket, writer))]
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in both:
            one.cancel()
        await asyncio.gather(*both, return_exceptions=True)
        await socket.close()
        writer.close()


async def client(port, url, ca=None):
    context = ssl.create_default_context(cafile=ca) if ca else None

    async def serve(reader, writer):
        socket = await websockets.connect(url, ssl=context, max_size=None, close_timeout=1)
        await join(reader, writer, socket)

    server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=512)
    await server.serve_forever()


async def serve(port, target):
    async def one(socket, *_):
        reader, writer = await asyncio.open_connection("127.0.0.1", target)
        await join(reader, writer, socket)

    async with websockets.serve(one, "127.0.0.1", port, max_size=None, close_timeout=1, backlog=512):
        await asyncio.Future()


if sys.argv[1] == "client":
    asyncio.run(client(int(sys.argv[2]), *sys.argv[3:]))
else:
    asyncio.run(serve(int(sys.argv[2]), int(sys.argv[3])))
