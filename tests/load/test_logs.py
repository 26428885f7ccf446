"""The log: what strangers can write into it, and what that costs the others."""

import asyncio
import time

from app.core.log_repeats import ALLOWED, WINDOW_SECONDS
from tests.load.duel import BOUND, Duel
from tests.load.greedy import Side

MALFORMED = b"\0\r\n\r\n"
WARNING = "Invalid HTTP request received"


async def sends_malformed_requests(side: Side) -> None:
    """One after the other, each on a connection of its own, which the server closes, and warns."""
    while True:
        reader, writer = await asyncio.open_connection(side.address.host, side.address.port)
        writer.write(MALFORMED)
        side.count((await reader.read())[9:12].decode() or "closed")
        writer.close()


def test_malformed_requests_write_a_bounded_number_of_lines(duel: Duel) -> None:
    begun = time.monotonic()
    seen = duel.compare(sends_malformed_requests, duel.modest_get())
    windows = 1 + (time.monotonic() - begun) // WINDOW_SECONDS
    assert sum(seen.taken.values()) > 10 * ALLOWED, str(seen)
    lines = [line for line in duel.stack.server().output().splitlines() if WARNING in line]
    assert 0 < len(lines) <= ALLOWED * windows
    assert "more like this are not shown" in "".join(lines)
    assert seen.ratio <= BOUND, str(seen)
