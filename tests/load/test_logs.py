"""The log: what strangers can write into it, and what that costs the others."""

import asyncio
import time

from app.core.logging import ALLOWED_REPEATS, REPEAT_SECONDS
from tests.load.duel import BUSY_BOUND, Duel
from tests.load.greedy import Side
from tests.support.accounts import API

MALFORMED = b"\0\r\n\r\n"


async def sends_malformed_requests(side: Side) -> None:
    """One after the other, each on a connection of its own, which the server closes."""
    while True:
        reader, writer = await asyncio.open_connection(side.address.host, side.address.port)
        writer.write(MALFORMED)
        side.count((await reader.read())[9:12].decode() or "closed")
        writer.close()


def test_malformed_requests_write_a_bounded_number_of_lines(duel: Duel) -> None:
    begun, before = time.monotonic(), len(duel.stack.server().output().splitlines())
    seen = duel.compare(sends_malformed_requests, duel.modest_request("GET", f"{API}/tasks/types"), bound=BUSY_BOUND)
    windows = 1 + (time.monotonic() - begun) // REPEAT_SECONDS
    assert sum(seen.taken.values()) > 10 * ALLOWED_REPEATS, str(seen)
    lines = duel.stack.server().output().splitlines()[before:]
    warnings = [line for line in lines if "/tasks/types" not in line]  # that is the access log
    assert len(warnings) <= ALLOWED_REPEATS * windows, warnings[:5]
    assert seen.ratio <= BUSY_BOUND, str(seen)
