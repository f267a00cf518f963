"""forward.py LISTEN_IP PORT DEST_IP DEST_PORT: a plain TCP forward, for the row without a proxy across the emulated WAN."""
import asyncio
import sys


async def copy(reader, writer):
    try:
        while block := await reader.read(1 << 18):
            writer.write(block)
            await writer.drain()
        writer.write_eof()
    except (OSError, RuntimeError):
        writer.close()


async def forward(reader, writer):
    try:
        far_reader, far_writer = await asyncio.open_connection(sys.argv[3], int(sys.argv[4]))
    except OSError:
        writer.close()
        return
    await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))
    writer.close()
    far_writer.close()


async def main():
    server = await asyncio.start_server(forward, sys.argv[1], int(sys.argv[2]), limit=1 << 20)
    await server.serve_forever()


asyncio.run(main())
