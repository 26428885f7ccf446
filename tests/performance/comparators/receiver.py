"""A receiver of webhooks that reads each and answers 204: the least that one can do, so that senders are what is measured.

`python -m tests.performance.comparators.receiver PORT`; with `silent` behind it, it accepts and never answers.
"""

import asyncio
import sys
from collections.abc import Sequence

ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"
LENGTH = b"content-length:"


async def _receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            (length,) = [line[len(LENGTH) :] for line in head.lower().split(b"\r\n") if line.startswith(LENGTH)]
            await reader.readexactly(int(length))
            writer.write(ANSWER)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def _stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def _serve(port: int, *, silent: bool) -> None:
    server = await asyncio.start_server(_stay_silent if silent else _receive, "127.0.0.1", port, backlog=1024)
    async with server:
        await server.serve_forever()


def main(words: Sequence[str]) -> int:
    asyncio.run(_serve(int(words[0]), silent=words[1:] == ["silent"]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
