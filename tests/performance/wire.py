"""A small HTTP/1.1 client on asyncio streams, since a library's client would be the slowest part of the measurement.

One connection, one request at a time, keep-alive; answers with `Content-Length` or chunked. Loopback only.
"""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from tests.support.loopback import Address

MAX_ANSWER = 16 * 1024 * 1024


@dataclass(frozen=True)
class Request:
    """One request as bytes, made once and sent often."""

    method: str
    path: str
    body: bytes = b""
    kind: str = "application/json"
    token: str = ""

    def encode(self, host: str) -> bytes:
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: {host}", "Accept: application/json"]
        if self.token:
            lines.append(f"Authorization: Bearer {self.token}")
        if self.body:
            lines.append(f"Content-Type: {self.kind}")
        if self.body or self.method in {"POST", "PUT", "PATCH"}:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode() + self.body


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """Opened at the first request and again after a failure."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, request: Request, seconds: float = 30) -> Answer:
        try:
            return await asyncio.wait_for(self._ask(request), seconds)
        except BaseException:
            await self.close()
            raise

    async def _ask(self, request: Request) -> Answer:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(self.address.host, self.address.port)
        self._writer.write(request.encode(f"{self.address.host}:{self.address.port}"))
        await self._writer.drain()
        head = await self._reader.readuntil(b"\r\n\r\n")
        first, _, rest = head.partition(b"\r\n")
        headers = rest.lower()
        status = int(first.split(b" ", 2)[1])
        body = await self._body(self._reader, headers)
        if b"connection: close" in headers:
            await self.close()
        return Answer(status, body)

    async def _body(self, reader: asyncio.StreamReader, headers: bytes) -> bytes:
        if b"transfer-encoding: chunked" in headers:
            return await self._chunks(reader)
        _, found, rest = headers.partition(b"content-length:")
        size = int(rest.split(b"\r\n", 1)[0]) if found else 0
        if size > MAX_ANSWER:
            raise ValueError(f"an answer of {size} bytes")
        return await reader.readexactly(size)

    async def _chunks(self, reader: asyncio.StreamReader) -> bytes:
        body = b""
        while size := int((await reader.readline()).split(b";")[0], 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
        return body

    async def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


async def ask_once(address: Address, request: Request) -> Answer:
    """One request on a connection of its own."""
    connection = Connection(address)
    answer = await connection.ask(request)
    await connection.close()
    return answer
