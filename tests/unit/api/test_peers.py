"""Who is refused or cut off when connections hold too much."""

import asyncio
from collections.abc import Iterator
from uuid import UUID

import pytest

from app.api.http.peers import EVICTED_SHARE, Limits, Owner, Peers
from app.core.config import get_settings
from app.errors import Overloaded, TooManyInProgress

GREEDY, MODEST = UUID(int=1), UUID(int=2)
LIMITS = Limits(
    seconds=20, bytes_per_second=1000, bytes_per_user=100, bytes_in_all=250, requests_per_user=3, connections=64
)


class Connection:
    """One that waits for its client."""

    def __init__(self, peers: Peers, owner: Owner, held: int, *, since: float = 0, address: str = "") -> None:
        self.peers, self.owner, self.held, self.since = peers, owner, held, since
        self.address = address or str(owner)
        self.is_unread, self.ended = True, False
        peers.hold(owner, held)
        peers.wait_for(self)

    def check(self, now: float) -> None:
        """It is fast enough."""

    def end(self) -> None:
        self.ended = True
        self.peers.stop_waiting(self)
        self.peers.release(self.owner, self.held)


@pytest.fixture
def peers() -> Iterator[Peers]:
    loop = asyncio.new_event_loop()
    yield Peers(loop, LIMITS)
    loop.close()


class TestRequests:
    def test_of_one_user_are_bounded_and_others_go_on(self, peers: Peers) -> None:
        for _ in range(LIMITS.requests_per_user):
            peers.begin(GREEDY, 0)
        with pytest.raises(TooManyInProgress):
            peers.begin(GREEDY, 0)
        peers.begin(MODEST, 0)
        peers.end(GREEDY)
        peers.begin(GREEDY, 0)

    def test_are_refused_while_their_user_does_not_read(self, peers: Peers) -> None:
        peers.hold(GREEDY, 101)
        with pytest.raises(TooManyInProgress):
            peers.begin(GREEDY, 0)
        peers.begin(MODEST, 0)
        peers.release(GREEDY, 101)
        peers.begin(GREEDY, 0)

    def test_with_a_body_are_refused_while_the_process_holds_too_much(self, peers: Peers) -> None:
        for number in range(3):
            peers.hold(f"10.0.0.{number}", 90)
        with pytest.raises(Overloaded):
            peers.begin(MODEST, 1)
        peers.begin(MODEST, 0)

    def test_what_is_counted_is_forgotten(self, peers: Peers) -> None:
        for number in range(1000):
            peers.begin(UUID(int=number), 0)
            peers.hold(UUID(int=number), 5)
            peers.release(UUID(int=number), 5)
            peers.end(UUID(int=number))
        assert peers.held_bytes == 0
        assert peers.owners == 0


class TestTransfers:
    def test_of_one_user_beyond_the_bound_end_with_the_longest_wait(self, peers: Peers) -> None:
        greedy = [Connection(peers, GREEDY, 40) for _ in range(4)]
        modest = Connection(peers, MODEST, 90)
        peers.enforce(GREEDY)
        assert [each.ended for each in greedy] == [True, True, False, False]
        assert not modest.ended

    def test_of_the_heaviest_owner_end_when_the_process_holds_too_much(self, peers: Peers) -> None:
        modest = Connection(peers, MODEST, 70)
        others = [Connection(peers, f"10.0.0.{number}", 90) for number in range(3)]
        peers.enforce(MODEST)
        assert not modest.ended
        assert sum(each.ended for each in others) == 1

    def test_bytes_without_a_waiting_connection_do_not_make_it_search_for_ever(self, peers: Peers) -> None:
        peers.hold(GREEDY, 1000)
        peers.enforce(MODEST)
        assert peers.held_bytes == 1000


class TestRoom:
    def test_is_made_by_the_address_with_most_idle_connections(self, peers: Peers) -> None:
        modest = [Connection(peers, MODEST, 0, since=0, address=f"10.0.0.{number}") for number in range(9)]
        greedy = [Connection(peers, GREEDY, 0, since=10 - number, address="10.9.9.9") for number in range(9)]
        assert peers.make_room([*modest, *greedy])
        assert not any(each.ended for each in modest)
        assert [each.ended for each in greedy] == [False] * 5 + [True] * (LIMITS.connections // EVICTED_SHARE)

    def test_then_by_transfers_that_wait(self, peers: Peers) -> None:
        waiting = Connection(peers, GREEDY, 10)
        assert peers.make_room([])
        assert waiting.ended

    def test_is_not_made_by_requests_in_progress(self, peers: Peers) -> None:
        assert not peers.make_room([])


def test_one_user_never_has_all_connections() -> None:
    settings = get_settings().model_copy(update={"max_connections": 100})
    assert Limits.of(settings).requests_per_user == 50


def test_connections_leave_files_for_everything_else() -> None:
    limits = Limits.of(get_settings().model_copy(update={"max_connections": None}))
    assert 0 < limits.connections < 65_536
