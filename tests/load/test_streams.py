"""Event streams: how many one user may hold, and what they cost the others."""

from app.live.watcher import STREAMS_PER_USER as ALLOWED
from tests.load.duel import BOUND, Duel
from tests.load.greedy import Side
from tests.performance.wire import Request
from tests.support.accounts import API

WANTED = 200
MIB_A_STREAM = 0.2


async def opens_streams(side: Side) -> None:
    """More streams than are allowed, none of which is read."""
    await side.hold(Request("GET", f"{API}/tasks/events", token=side.token), WANTED)


def test_streams_of_one_user_are_bounded_and_leave_others_alone(duel: Duel) -> None:
    seen = duel.compare(opens_streams, duel.modest_get())
    assert seen.taken["200"] == seen.rounds * ALLOWED, str(seen)
    assert seen.taken["429"] == seen.rounds * (WANTED - ALLOWED), str(seen)
    assert seen.ratio <= BOUND, str(seen)
    assert seen.peak_mib - seen.base_mib < MIB_A_STREAM * ALLOWED, str(seen)
