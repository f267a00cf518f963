"""Clients that leave in the middle, an origin that does, and WebSockets: by hand, for no library is that rude."""
import asyncio
import base64
import contextlib
import os
import random
import socket
import struct

from workshop import ORIGIN_PORT, SINK_PORT


class Origin:
    """`/ws` echoes WebSocket messages, `/reset` resets in the middle of an answer, `/half` answers once the client has ended."""

    @classmethod
    async def start(cls):
        self = cls()
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    def close(self):
        self.server.close()

    async def _serve(self, reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1]
            if path.endswith(b"/ws"):
                writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                             b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
                while frame := await read_frame(reader):
                    opcode, payload = frame
                    writer.write(made_frame(opcode, payload, b""))
                    await writer.drain()
                    if opcode == CLOSE:
                        break
            elif path.endswith(b"/reset"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + bytes(200_000))
                await writer.drain()
                await asyncio.sleep(0.1)
                reset(writer)
            else:
                got = len(await reader.read())
                writer.write(b"%d\n" % got)
                await writer.drain()
        except (OSError, EOFError):
            pass
        finally:
            writer.close()


async def connect(proxy, port):
    """A tunnel by CONNECT."""
    reader, writer = await asyncio.open_connection(*proxy, limit=1 << 20)
    writer.write(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % (port, port))
    await expect(reader, b"200")
    return reader, writer


async def websocket(proxy, origin):
    """Messages there and back by an Upgrade through the proxy; closed properly, or not at all."""
    reader, writer = await asyncio.open_connection(*proxy)
    try:
        host = b"127.0.0.1:%d" % origin.port
        writer.write(b"GET http://" + host + b"/ws HTTP/1.1\r\nHost: " + host + b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        await expect(reader, b"101")
        for _ in range(random.randint(5, 40)):
            message = base64.b64encode(os.urandom(random.choice((20, 400, 20_000))))
            writer.write(made_frame(TEXT, message, os.urandom(4)))
            if await read_frame(reader) != (TEXT, message):
                raise ValueError("another message came back")
            await asyncio.sleep(random.uniform(0, 0.3))
        if random.random() < 0.5:
            reset(writer)
            return
        writer.write(made_frame(CLOSE, struct.pack(">H", 1000), os.urandom(4)))
        if (await read_frame(reader) or (None,))[0] != CLOSE:
            raise ValueError("no Close frame came back")
    finally:
        writer.close()


async def cut_download(proxy, _):
    """Gone after some megabytes of a download, with a reset or without."""
    reader, writer = await connect(proxy, ORIGIN_PORT)
    try:
        writer.write(b"GET /1g HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await take(reader, random.randint(0, 8 << 20))
        if random.random() < 0.5:
            reset(writer)
    finally:
        writer.close()


async def cut_half_closed(proxy, _):
    """Ends its direction within a download, and is gone after some megabytes more."""
    reader, writer = await connect(proxy, ORIGIN_PORT)
    try:
        writer.write(b"GET /1g HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await take(reader, random.randint(0, 32 << 20))
        writer.write_eof()
        # nginx may hang up in turn.
        with contextlib.suppress(EOFError):
            await take(reader, random.randint(0, 8 << 20))
        reset(writer)
    finally:
        writer.close()


async def cut_upload(proxy, _):
    """Gone in the middle of a chunk."""
    _, writer = await connect(proxy, SINK_PORT)
    try:
        writer.write(b"POST /sink HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(random.randint(0, 32)):
            writer.write(b"20000\r\n" + bytes(0x20000) + b"\r\n")
            await writer.drain()
        writer.write(b"20000\r\n" + bytes(1000))
        await writer.drain()
        if random.random() < 0.5:
            reset(writer)
    finally:
        writer.close()


async def stalled_download(proxy, _):
    """Does not read for a while, then goes."""
    _, writer = await connect(proxy, ORIGIN_PORT)
    try:
        writer.write(b"GET /1g HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await writer.drain()
        writer.transport.pause_reading()
        await asyncio.sleep(random.uniform(0.5, 5))
        reset(writer)
    finally:
        writer.close()


async def reset_by_origin(proxy, origin):
    """The origin resets; that must not look like an end."""
    reader, writer = await connect(proxy, origin.port)
    try:
        writer.write(b"GET /reset HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        try:
            while await reader.read(1 << 18):
                pass
        except ConnectionResetError:
            return
        raise ValueError("a reset arrived as a clean end")
    finally:
        writer.close()


async def half_close(proxy, origin):
    """Ends its direction, and still hears the answer."""
    reader, writer = await connect(proxy, origin.port)
    try:
        writer.write(b"GET /half HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" + bytes(100_000))
        writer.write_eof()
        if await reader.read() != b"100000\n":
            raise ValueError("not everything arrived before the end")
    finally:
        writer.close()


async def before_answer(proxy, _):
    """Gone before CONNECT was answered."""
    _, writer = await asyncio.open_connection(*proxy)
    writer.write(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % ORIGIN_PORT)
    await writer.drain()
    reset(writer)


async def refused(proxy, _):
    """A target that nobody listens at."""
    reader, writer = await asyncio.open_connection(*proxy)
    try:
        port = random.randint(1, 1000)
        writer.write(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % port)
        line = await reader.readuntil(b"\r\n\r\n")
        if line.split()[1] not in (b"502", b"503", b"504"):
            raise ValueError(f"answered {line[:40]!r}")
    finally:
        writer.close()


async def take(reader, left):
    """Reads some of a download."""
    while left > 0:
        block = await reader.read(1 << 18)
        if not block:
            raise EOFError("the download ended")
        left -= len(block)


async def expect(reader, status):
    head = await reader.readuntil(b"\r\n\r\n")
    if head.split(b" ", 2)[1] != status:
        raise ValueError(f"answered {head[:40]!r}")


def reset(writer):
    """Closes with a TCP reset."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def made_frame(opcode, payload, mask):
    """One WebSocket frame; clients must mask theirs."""
    flag, size = 0x80 if mask else 0, len(payload)
    head = bytes([0x80 | opcode]) + (bytes([flag | size]) if size < 126 else bytes([flag | 126]) + struct.pack(">H", size))
    return head + mask + (masked(payload, mask) if mask else payload)


async def read_frame(reader):
    """(opcode, payload); nothing at the end."""
    try:
        first, second = await reader.readexactly(2)
    except asyncio.IncompleteReadError:
        return None
    size = second & 0x7F
    if size == 126:
        (size,) = struct.unpack(">H", await reader.readexactly(2))
    mask = await reader.readexactly(4) if second & 0x80 else b""
    payload = await reader.readexactly(size)
    return first & 0x0F, masked(payload, mask) if mask else payload


def masked(payload, mask):
    size = len(payload)
    pattern = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(pattern, "big")).to_bytes(size, "big")


TEXT, CLOSE = 1, 8
KINDS = (
    ("WebSockets", websocket),
    ("downloads cut by the client", cut_download),
    ("downloads half-closed, then cut", cut_half_closed),
    ("uploads cut by the client", cut_upload),
    ("downloads that stall", stalled_download),
    ("downloads reset by the origin", reset_by_origin),
    ("half-closed tunnels", half_close),
    ("CONNECTs given up", before_answer),
    ("targets that refuse", refused),
)
