"""Passes connections of a listening socket on to host:port: python publish.py DESCRIPTOR HOST PORT."""

import asyncio
import socket
import sys


async def main(descriptor: int, host: str, port: int) -> None:
    async def passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(host, port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))
        writer.close()
        far_writer.close()

    server = await asyncio.start_server(passed_on, sock=socket.socket(fileno=descriptor))
    await server.serve_forever()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.transport.abort()


asyncio.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
