"""Connections: answers that are not read, bodies that do not arrive, connections that do nothing."""

import asyncio
import socket

import pytest

from app.api.http import peers
from tests.load.duel import BOUND, Duel
from tests.load.greedy import Side
from tests.performance.wire import Request
from tests.support.accounts import API
from tests.support.bounds import bounded
from tests.support.tasks import LONG_RUNNING

HELD_MIB = 24
SETTINGS = {
    **bounded({peers: {"TRANSFER_SECONDS": 0.2, "BYTES_PER_USER": 8 * 1024 * 1024}}),
    "QUOTA_TASKS_PER_MINUTE": "0",
    "MAX_CONNECTIONS": "200",
}
UNREAD, HALF_SENT, IDLE = 10, 20, 1000
KIB = 1024
# What one list answer makes before it is sent: rows, models, JSON.
PAGE_MIB = 24


async def _open(side: Side) -> socket.socket:
    """A connection whose kernel takes hardly anything."""
    connection = socket.socket()
    connection.setblocking(False)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * KIB)
    await asyncio.get_running_loop().sock_connect(connection, (side.address.host, side.address.port))
    return connection


async def _keep_sending(side: Side, data: bytes, read: int, after: float = 0) -> None:
    """Send the data on a connection, read so many bytes each tenth of a second, and begin anew when it ends."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(after)
    while True:
        connection = await _open(side)
        try:
            await loop.sock_sendall(connection, data)
            side.count("sent")
            while read or not _is_reset(connection):
                await asyncio.sleep(0.1)
                if read:
                    received = await loop.sock_recv(connection, read)
                    side.count(received[:12].decode("latin-1"))  # the status line, of what comes first
                    if not received:
                        break
        except OSError:
            pass
        side.count("ended")
        connection.close()
        await asyncio.sleep(1)  # what is measured is what waits, not the making of answers


def _is_reset(connection: socket.socket) -> bool:
    return connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0


async def does_not_read(side: Side) -> None:
    page = Request("GET", f"{API}/tasks/?limit=200", token=side.token).encode(side.address.host)
    reads = [0] * (UNREAD // 2) + [50] * (UNREAD // 2)
    await asyncio.gather(*(_keep_sending(side, page, read, after=0.1 * at) for at, read in enumerate(reads)))


async def sends_half(side: Side) -> None:
    whole = Request("POST", f"{API}/tasks/", b" " * 100_000, token=side.token).encode(side.address.host)
    await asyncio.gather(*(_keep_sending(side, whole[:-1], 1000, after=0.1 * each) for each in range(HALF_SENT)))


async def opens_connections(side: Side) -> None:
    """Opens new ones for ever, and says nothing on them."""
    opened = []
    while True:
        opened.append(await _open(side))
        side.count("opened")
        if len(opened) == IDLE:
            for each in opened[: IDLE // 2]:
                each.close()
            del opened[: IDLE // 2]
        await asyncio.sleep(0.002)


def test_unread_answers_are_bounded_and_leave_others_alone(duel: Duel) -> None:
    for _ in range(20):
        task = {
            "name": "big",
            "task_type": "load",
            "celery_task_name": LONG_RUNNING,
            "args": [1],
            "metadata": {"x": "x" * 50_000},
        }
        assert duel.greedy.post(f"{API}/tasks/", json=task).status_code == 201
    seen = duel.compare(does_not_read, duel.modest_get())
    assert seen.taken["ended"] >= seen.rounds, str(seen)
    assert seen.ratio <= BOUND, str(seen)
    assert seen.peak_mib - seen.base_mib < HELD_MIB + PAGE_MIB, str(seen)


def test_half_sent_bodies_are_bounded_and_leave_others_alone(duel: Duel) -> None:
    seen = duel.compare(sends_half, duel.modest_get())
    assert seen.taken["HTTP/1.1 408"] >= seen.rounds, str(seen)
    assert seen.ratio <= BOUND, str(seen)
    assert seen.peak_mib - seen.base_mib < HELD_MIB, str(seen)


@pytest.mark.full
def test_idle_connections_are_bounded_and_leave_others_alone(duel: Duel) -> None:
    """The modest client's connection is idle at times too, and comes from the same address; it stays: it is the newest."""
    seen = duel.compare(opens_connections, duel.modest_get())
    assert seen.taken["opened"] > seen.rounds * 200, str(seen)
    assert seen.ratio <= BOUND, str(seen)
    assert seen.peak_mib - seen.base_mib < HELD_MIB, str(seen)
