"""Whatever bytes come in whatever pieces: an answer or the end within the bounds, nothing held, nothing logged."""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from app.api.http.peers import SET_USER, TRANSFER_SECONDS
from app.api.http.protocol import HEADER_SECONDS
from tests.support.properties import example, given, settings, st
from tests.support.protocol_server import GREEDY, Records, statuses
from tests.support.virtual_time import ClientSide, VirtualServer

SHORT, LONG = 400, 6_000
# A head, its body and the answer may each take their time; a client that does nothing is gone after so many seconds.
LONGEST_SECONDS = HEADER_SECONDS + 2 * TRANSFER_SECONDS + 60
ANSWER_BYTES = 300_000

LINES = [
    *(b"%b %b HTTP/1.%d\r\n" % (method, path, minor) for method in (b"GET", b"POST", b"HEAD", b"OPTIONS")
      for path in (b"/length", b"/early", b"/wait", b"/answer", b"/user/length") for minor in (1, 1, 0)),
    b"GET http://h.example HTTP/1.1\r\n", b"OPTIONS * HTTP/1.1\r\n", b"CONNECT a:80 HTTP/1.1\r\n",
    b"GET /length HTTP/9.9\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET /%ff%00 HTTP/1.1\r\n", b"GET /a#b HTTP/1.1\r\n",
]  # fmt: skip
FIELDS = [
    b"Host: a\r\n", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Content-Length: 99999999999999999999\r\n",
    b"Content-Length: +5\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding: gzip\r\n", b"Expect: 100-continue\r\n", b"Connection: close\r\n", b"Connection: keep-alive\r\n",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n", b"Upgrade: websocket\r\nConnection: upgrade\r\n",
    b"A: " + b"a" * 5000 + b"\r\n", b" folded\r\n", b"No colon\r\n", b"A:\r\n", b"A: b\n",
]  # fmt: skip
REST = [
    b"\r\n", b"\r\n\r\n", b"\n", b"hello", b"5\r\nhello\r\n", b"0\r\n\r\n", b"0\r\nT: x\r\n\r\n", b"5;a=b\r\nhello\r\n",
    b"ffffffffffffffff\r\n", b"x" * 70_000, b"\0",
]  # fmt: skip
WHOLE = [
    b"GET /length HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /answer HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /user/length HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /length HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: x\r\n\r\n",
    b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n", b"HEAD /answer HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 80000\r\n\r\n" + b"y" * 80_000,
    b"GET http://h.example/length HTTP/1.1\r\nHost: a\r\n\r\n",
]  # fmt: skip

anything = st.lists(
    st.one_of(st.sampled_from(WHOLE), st.sampled_from(LINES), st.sampled_from(FIELDS), st.sampled_from(REST),
              st.binary(max_size=30)),
    max_size=30,
)  # fmt: skip
# Where the bytes are cut into pieces, and how many seconds pass before each.
cuts = st.lists(st.tuples(st.integers(1, 3000), st.sampled_from([0.0, 0.0, 0.0, 0.5, 7.0, 30.0])), max_size=20)
# How many bytes the client reads each second; None: all at once.
reading = st.sampled_from([None, None, 0, 100, 5000, 100_000])


async def answer(scope: Any, receive: Any, send: Any) -> None:
    path = scope["path"]
    if path.startswith("/user"):
        scope["extensions"][SET_USER]["call"](GREEDY)
    if path == "/wait":
        await asyncio.sleep(5)
    more = path.endswith("/length")
    while more:
        more = (await receive()).get("more_body", False)
    body = b"x" * ANSWER_BYTES if path == "/answer" else b"ok"
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def quiet_server() -> Iterator[VirtualServer]:
    """A server which, in the end, holds nothing and has logged nothing."""
    records = Records()
    logger = logging.getLogger("uvicorn.error")
    logger.addHandler(records)
    server = VirtualServer(answer)
    try:
        yield server
        assert records.lines == []
        assert server.loop.failures == []
        assert not server.state.connections
        assert (server.peers.held_bytes, server.peers.owners) == (0, 0)
    finally:
        logger.removeHandler(records)
        for task in asyncio.all_tasks(server.loop):
            task.cancel()
        server.loop.run_until_complete(asyncio.sleep(0))
        server.loop.close()


async def talk(client: ClientSide, data: bytes, pieces: Sequence[tuple[int, float]], a_second: int | None) -> None:
    """Send the data in these pieces and do nothing further, until the connection has ended."""
    reader = asyncio.ensure_future(_read(client, a_second))
    for size, pause in pieces:
        piece, data = data[:size], data[size:]
        await asyncio.sleep(pause)
        client.send(piece)
    client.send(data)
    begun = client.loop.time()
    async with asyncio.timeout(LONGEST_SECONDS + ANSWER_BYTES / 100):
        await client.closed.wait()
    reader.cancel()
    if a_second is None:
        assert client.loop.time() - begun < LONGEST_SECONDS
    await asyncio.sleep(10)  # a request under /wait ends


async def _read(client: ClientSide, a_second: int | None) -> None:
    while a_second:
        await asyncio.sleep(1)
        client.read(a_second)


def held_while_talking(data: bytes, pieces: Sequence[tuple[int, float]], a_second: int | None) -> bytes:
    with quiet_server() as server:
        client = server.connect(reads=a_second is None)
        server.loop.run_until_complete(talk(client, data, pieces, a_second))
    return client.received


def check_anything(parts: list[bytes], pieces: list[tuple[int, float]], a_second: int | None) -> None:
    received = held_while_talking(b"".join(parts), pieces, a_second)
    assert received == b"" or received.startswith(b"HTTP/1.1 ")


def check_whole(parts: list[bytes], sizes: list[int]) -> None:
    """Each request of a pipeline is answered, in order."""
    data = b"".join(parts) + b"GET /length HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    received = held_while_talking(data, [(size, 0.0) for size in sizes], None)
    assert statuses(received) == [200] * (len(parts) + 1)


@settings(max_examples=SHORT)
@given(anything, cuts, reading)
def test_anything_is_answered_or_ended(
    parts: list[bytes], pieces: list[tuple[int, float]], a_second: int | None
) -> None:
    check_anything(parts, pieces, a_second)


# A byte of the last head arrives before the server stops reading, and the rest waits for longer than a head may take.
WAIT = b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n"
BEHIND = [WAIT] * 4 + [b"GET /length HTTP/1.1\r\nHost: a\r\n\r\n"]


@settings(max_examples=SHORT)
@example(BEHIND, [158])
@given(st.lists(st.sampled_from(WHOLE), max_size=12), st.lists(st.integers(1, 3000), max_size=20))
def test_what_is_whole_is_answered_in_order(parts: list[bytes], sizes: list[int]) -> None:
    check_whole(parts, sizes)


@pytest.mark.full
@pytest.mark.timeout(3600)
@settings(max_examples=LONG)
@given(anything, cuts, reading)
def test_anything_for_longer(parts: list[bytes], pieces: list[tuple[int, float]], a_second: int | None) -> None:
    check_anything(parts, pieces, a_second)


def test_bytes_change_their_owner_with_the_request() -> None:
    """The head of an answer to HEAD is sent after the next request has begun."""
    pipelined = b"HEAD /answer HTTP/1.1\r\nHost: a\r\n\r\nGET /user/length HTTP/1.1\r\nHost: a\r\n\r\n"
    held_while_talking(pipelined, [], 0)


def test_a_head_is_not_late_while_the_server_does_not_read() -> None:
    """Here because a body waits for the application."""

    async def late(scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "POST":
            await asyncio.sleep(10 * HEADER_SECONDS)
        await answer(scope, receive, send)

    server = VirtualServer(late)
    client = server.connect()
    body = b"POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 80000\r\n\r\n" + b"y" * 80_000
    head = b"GET /length HTTP/1.1\r\nHost: a\r\n\r\n"
    client.send(body + head[:1])
    client.send(head[1:])
    server.loop.run_until_complete(client.closed.wait())
    server.loop.run_until_complete(asyncio.sleep(0))
    assert statuses(client.received) == [200, 200]
    server.loop.close()


def test_a_part_of_a_head_before_an_answer_has_the_time_of_a_head() -> None:
    """Not that of an idle connection, which is shorter."""
    head = b"GET /length HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    almost = HEADER_SECONDS - 1
    for pause, expected in ((almost, [200, 200]), (almost + 2, [200, 408])):
        with quiet_server() as server:
            client = server.connect()
            server.loop.run_until_complete(talk(client, WAIT + head, [(len(WAIT) + 1, 0.0), (1, pause)], None))
        assert statuses(client.received) == expected
