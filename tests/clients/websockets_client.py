"""The `websockets` package on both sides, with compression, through the proxy.

usage: websockets_client.py PROXY

Prints `ok` at the end.
"""

import asyncio
import sys

import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve


async def echo(connection):
    async for message in connection:
        await connection.send(message)


async def main():
    async with serve(echo, "127.0.0.1", 0, max_size=None) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"ws://127.0.0.1:{port}/echo"
        async with connect(url, proxy=sys.argv[1], max_size=None) as client:
            assert any("deflate" in extension.name for extension in client.protocol.extensions)
            for message in ["hi", "x" * 100_000, bytes(range(256)) * 10_000, ""]:
                await client.send(message)
                assert await asyncio.wait_for(client.recv(), 20) == message
            await asyncio.wait_for(await client.ping(), 20)
        assert client.close_code == 1000, client.close_code

        clients = [await connect(url, proxy=sys.argv[1]) for _ in range(20)]
        for number, client in enumerate(clients):
            await client.send(str(number))
        for number, client in enumerate(clients):
            assert await asyncio.wait_for(client.recv(), 20) == str(number)
            await client.close()
    try:
        await connect("ws://169.254.169.254/", proxy=sys.argv[1])
    except websockets.exceptions.InvalidProxyStatus as error:
        assert error.response.status_code == 403, error
    else:
        raise AssertionError("a tunnel to the metadata service")
    print("ok")


asyncio.run(main())
