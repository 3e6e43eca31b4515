"""WebSocket peers by the package `websockets`.

usage: websocket.py serve PORT          echoes the bytes of each message in two parts; says "ready"
       websocket.py talk URL SIZE       sends SIZE bytes as messages of many kinds, wants them back
       websocket.py break URL           sends a frame of no known kind; says how the other end closes
"""
import asyncio
import hashlib
import sys

import websockets


async def echo(socket, *_):
    try:
        async for message in socket:
            half = len(message) // 2
            await socket.send([message[:half], message[half:]])  # a message in fragments
            pong = await socket.ping()
            del pong
    except websockets.ConnectionClosed:
        pass


async def serve(port):
    async with websockets.serve(echo, "127.0.0.1", port, max_size=None):
        print("ready", flush=True)
        await asyncio.Future()


def data_of(size):
    block = hashlib.sha256(b"tide").digest()
    return (block * (size // len(block) + 1))[:size]


async def talk(url, size):
    data = data_of(size)
    async with websockets.connect(url, max_size=None, close_timeout=5) as socket:
        async def send():
            at, step = 0, 1
            while at < size:
                part = data[at:at + step]
                at += step
                step = min(step * 3, 200000)
                if step % 2:
                    await socket.send(part)
                else:
                    await socket.send([part[:7], part[7:]] if len(part) > 7 else part)
        sending = asyncio.create_task(send())
        await asyncio.wait_for(await socket.ping(b"are you there"), 5)
        got = b""
        while len(got) < size:
            got += await asyncio.wait_for(socket.recv(), 20)
        await sending
        assert got == data, "other bytes came back"
        extensions = [e.name for e in socket.extensions]
    assert socket.close_code == 1000, socket.close_code
    print("ok", ",".join(extensions))


async def break_rules(url):
    async with websockets.connect(url) as socket:
        socket.transport.write(b"\x8f\x80\0\0\0\0")
        try:
            await asyncio.wait_for(socket.recv(), 20)
        except websockets.ConnectionClosed as closed:
            print("closed with", closed.rcvd.code if closed.rcvd else "nothing")


if sys.argv[1] == "serve":
    asyncio.run(serve(int(sys.argv[2])))
elif sys.argv[1] == "break":
    asyncio.run(break_rules(sys.argv[2]))
else:
    asyncio.run(talk(sys.argv[2], int(sys.argv[3])))
