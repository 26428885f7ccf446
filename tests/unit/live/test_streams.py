"""What a stream still has to send: the newest state of each task, in an order from which a cursor can resume."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from app.errors import InvalidToken
from app.live import streams
from app.live.feed import MAX_PENDING, READ_BATCH, WAITING_BYTES, Feed, Reload, Reloaded
from app.live.streams import NEVER, STALL_SECONDS, Credential, Piece, State, Subscription, cursor_of, moment_of
from app.services.accounts.auth_service import Principal

pytestmark = pytest.mark.anyio
START = datetime(2026, 11, 25, tzinfo=UTC)
USER = UUID(int=2)
CREDENTIAL = Credential(UUID(int=1), is_key=False, role="user", user_id=USER)


def state(version: int, *, task: int = 7, ended: bool = False, size: int = 2) -> State:
    return State(UUID(int=task), USER, version, ended, b"x" * size)


def at(second: int) -> datetime:
    return START + timedelta(seconds=second)


def ids(piece: bytes | None) -> list[str]:
    assert piece is not None
    return [line.removeprefix("id: ") for line in piece.decode().splitlines() if line.startswith("id: ")]


async def nothing(after: int) -> Piece:
    return Piece(b"", after)


def task_stream() -> Subscription:
    return Subscription(CREDENTIAL, 3600, nothing, [UUID(int=7)])


def unless(seen: int | None, first: State) -> Piece:
    """What `queries.read_state` returns of it to a client that has seen this version."""
    return first.piece()._replace(events=b"") if first.version == seen else first.piece()


def stream_of_rows(tasks: list[int], reader: Reload) -> Feed:
    ids = [UUID(int=task) for task in tasks]
    rows = Feed(CREDENTIAL, 3600, reader, task_ids=ids)
    rows.open_with()
    rows.catch_up(ids, NEVER)
    return rows


@pytest.fixture
async def stream() -> Subscription:
    return task_stream()


class TestPieces:
    """The states without the form of events."""

    async def test_come_one_by_one_until_the_last(self, stream: Subscription) -> None:
        stream.offer(state(1))
        assert await stream.next_piece() == state(1).piece()
        waiting = asyncio.create_task(stream.next_piece())
        await asyncio.sleep(0)
        stream.offer(state(2))
        stream.offer(state(3, ended=True))
        assert await waiting == state(3, ended=True).piece()
        assert await stream.next_piece() is None

    async def test_end_when_the_stream_is_closed(self, stream: Subscription) -> None:
        waiting = asyncio.create_task(stream.next_piece())
        await asyncio.sleep(0)
        stream.close()
        assert await waiting is None


class Reader:
    """Stands for the database: answers with these, and notes what it was asked for."""

    def __init__(self) -> None:
        self.states: dict[UUID, State] = {}
        self.asked: list[list[int]] = []
        self.answers = True
        self.at_once = READ_BATCH

    def add(self, *states: State) -> None:
        self.states |= {each.task_id: each for each in states}

    async def __call__(self, wanted: Sequence[UUID]) -> Reloaded | None:
        self.asked.append([each.int for each in wanted])
        read, left = wanted[: self.at_once], wanted[self.at_once :]
        return ([self.states[each] for each in read if each in self.states], left) if self.answers else None


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
async def feed(reader: Reader) -> Feed:
    return Feed(CREDENTIAL, 3600, reader, START)


class TestTheCredential:
    """It knows whose tasks the stream may show, and with what it ends."""

    def test_is_the_key_or_the_login_of_its_user(self) -> None:
        until = datetime(2026, 11, 26, tzinfo=UTC)
        login = Principal(USER, "ann", "admin", "high", session_id=UUID(int=8))
        key = replace(login, session_id=None, api_key_id=UUID(int=9), scopes=("tasks:read",))
        assert Credential.of(login, until) == Credential(UUID(int=8), False, "admin", USER, None, until)
        assert Credential.of(key) == Credential(UUID(int=9), True, "admin", USER, USER)

    def test_of_nobody_is_none(self) -> None:
        with pytest.raises(InvalidToken):
            Credential.of(Principal(USER, "ann", "user", "high"))


async def opened(feed: Feed) -> None:
    feed.open_with()
    await feed.next()


class TestOneTask:
    async def test_sends_the_newest_state_alone_however_many_there_were(self, stream: Subscription) -> None:
        for version in range(1, 1000):
            stream.offer(state(version))
        assert ids(await stream.next()) == ["999"]
        stream.offer(state(1000, ended=True))
        assert ids(await stream.next()) == ["1000"]
        assert await stream.next() is None

    async def test_never_goes_back(self, stream: Subscription) -> None:
        stream.offer(state(5))
        stream.offer(state(4))
        assert ids(await stream.next()) == ["5"]
        stream.offer(state(5))
        stream.ping_due = True
        assert await stream.next() == b": ping\n\n"

    async def test_begins_with_the_current_state_unless_it_was_seen(self) -> None:
        sent = {}
        for seen in (None, 4, 6, 5):
            stream = task_stream()
            stream.begin(unless(seen, state(5)))
            sent[seen] = ids(await stream.next())
        assert sent == {None: ["5"], 4: ["5"], 6: ["5"], 5: []}

    async def test_what_was_heard_while_the_first_state_was_read_is_not_undone_by_it(
        self, stream: Subscription
    ) -> None:
        stream.offer(state(6, ended=True))
        stream.begin(unless(5, state(5)))
        assert ids(await stream.next()) == ["6"]
        assert await stream.next() is None

    async def test_what_is_read_later_than_a_newer_state_was_offered_is_not_sent(self) -> None:
        async def read(_after: int) -> Piece:
            slow.offer(state(6))
            return state(5).piece()

        slow = Subscription(CREDENTIAL, 3600, read, [UUID(int=7)])
        slow.tell()
        assert ids(await slow.next()) == ["6"]

    async def test_a_retry_that_comes_before_the_end_was_sent_goes_on(self, stream: Subscription) -> None:
        stream.offer(state(5, ended=True))
        stream.offer(state(6))
        assert ids(await stream.next()) == ["6"]
        assert not stream.closed

    async def test_closed_it_sends_nothing_more_and_ends_a_wait(self, stream: Subscription) -> None:
        await stream.next()
        waiting = asyncio.ensure_future(stream.next())
        await asyncio.sleep(0)
        stream.close()
        assert await waiting is None
        stream.offer(state(1))
        assert await stream.next() is None


class TestTheClock:
    async def test_a_heartbeat_where_nothing_was_sent_and_an_end(self, stream: Subscription) -> None:
        stream.tick(stream.last_sent_at + 14.9, 15)
        assert not stream.ping_due
        stream.tick(stream.last_sent_at + 15, 15)
        assert stream.ping_due
        stream.tick(stream.ends_at, 15)
        assert stream.closed

    async def test_a_client_that_takes_nothing_is_cut_off_at_length_or_soon_after_the_close(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(streams, "CLOSE_GRACE_SECONDS", 0.01)
        cut: list[str] = []
        stalled = task_stream()
        stalled.sending(lambda: cut.append("stalled"))
        now = asyncio.get_running_loop().time()
        stalled.tick(now + STALL_SECONDS - 1, 15)
        assert cut == []
        stalled.tick(now + STALL_SECONDS + 1, 15)
        assert cut == ["stalled"]
        closed, quick = task_stream(), task_stream()
        for stream, name in ((closed, "closed"), (quick, "quick")):
            stream.sending(lambda name=name: cut.append(name))
            stream.close()
        quick.sent()
        await asyncio.sleep(0.1)  # longer than the time to close
        assert cut == ["stalled", "closed"]


class TestTheFeed:
    async def test_a_newer_state_takes_the_place_behind_and_not_the_olds(self, feed: Feed) -> None:
        """Else its cursor, which is later, would lead past what waits behind the old one."""
        feed.offer(state(1, task=1), at(1))
        feed.offer(state(1, task=2), at(2))
        feed.offer(state(2, task=1), at(3))
        assert [moment_of(each) for each in ids(await feed.next())] == [at(2), at(3)]

    async def test_a_slow_client_costs_no_more_than_its_share_and_gets_the_newest(
        self, feed: Feed, reader: Reader
    ) -> None:
        reader.add(*(state(900, task=task, size=1000) for task in range(200)))
        for version in range(1, 11):
            for task in range(200):
                feed.offer(state(version, task=task, size=1000), at(version))
        held = [each for each, _ in feed._waiting.values() if each is not None]
        assert sum(len(each.data) for each in held) <= WAITING_BYTES
        seen: list[str] = []
        while len(seen) < 200:
            seen += ids(await feed.next())
        assert len(seen) == 200
        assert {len(each) <= 50 for each in reader.asked} == {True}
        assert sum(map(len, reader.asked)) == 200 - len(held)
        assert feed._waiting_bytes == 0

    async def test_one_that_is_too_far_behind_is_let_go(self, feed: Feed) -> None:
        for task in range(MAX_PENDING):
            feed.offer(state(1, task=task), START)
        assert not feed.closed
        feed.offer(state(1, task=MAX_PENDING), START)
        assert feed.closed

    async def test_catches_up_first_and_leaves_out_what_is_newer_or_gone(self, feed: Feed, reader: Reader) -> None:
        reader.add(state(3, task=1), state(3, task=2))
        feed.offer(state(9, task=2), at(9))
        feed.catch_up([UUID(int=task) for task in (1, 2, 3)], at(0))
        feed.open_with(at(0), reset=False)
        assert ids(await feed.next()) == [cursor_of(at(0))]
        assert [moment_of(each) for each in ids(await feed.next())] == [at(0), at(9)]
        assert reader.asked == [[1, 3]]

    async def test_what_changes_while_it_is_read_again_comes_in_its_newer_state_alone(self, feed: Feed) -> None:

        async def changing(wanted: Sequence[UUID]) -> Reloaded:
            feed.offer(state(8, task=1), at(8))
            return [state(7, task=each.int) for each in wanted], []

        feed._reload = changing
        feed.catch_up([UUID(int=1), UUID(int=2)], at(0))
        assert [moment_of(each) for each in ids(await feed.next())] == [at(0), at(8)]

    async def test_so_it_does_where_the_newer_state_is_not_kept(self) -> None:
        """The stream of a page has one cursor for all states: no cursor tells that the state is newer."""

        async def changing(wanted: Sequence[UUID]) -> Reloaded:
            asked.append([each.int for each in wanted])
            if len(asked) == 1:
                rows.offer(state(6, task=1, ended=True, size=WAITING_BYTES))
            return [state(len(asked), task=each.int) for each in wanted], []

        asked: list[list[int]] = []
        rows = stream_of_rows([1, 2], changing)
        await rows.next()  # the opening
        rows.offer(state(1, task=3))  # takes bytes, so that the large state is not kept
        pieces = [await asyncio.wait_for(rows.next(), 1) or b"" for _ in range(2)]
        assert [piece.count(b"data: ") for piece in pieces] == [2, 1]
        assert asked == [[1, 2], [1]]

    @pytest.mark.parametrize("gone", [1, READ_BATCH])
    async def test_reads_on_where_nothing_of_a_reading_can_be_sent(self, feed: Feed, reader: Reader, gone: int) -> None:
        reader.at_once = 1
        reader.add(state(1, task=gone + 1))
        feed.catch_up([UUID(int=task) for task in range(1, gone + 2)], at(0))
        assert ids(await asyncio.wait_for(feed.next(), 1)) == [cursor_of(at(0))]

    async def test_what_does_not_fit_into_one_reading_keeps_its_place(self, feed: Feed, reader: Reader) -> None:
        reader.add(*(state(1, task=task) for task in (1, 3, 4)))
        reader.at_once = 2
        feed.catch_up([UUID(int=task) for task in (1, 2, 3, 4)], at(0))
        feed.offer(state(9, task=5), at(9))
        sent = [moment_of(each) for _ in range(2) for each in ids(await feed.next())]
        assert sent == [at(0), at(0), at(0), at(9)]
        assert reader.asked == [[1, 2, 3, 4], [3, 4]]

    async def test_a_database_that_is_away_is_asked_again(self, feed: Feed, reader: Reader) -> None:
        reader.add(state(1, task=1))
        await opened(feed)
        reader.answers = False
        feed.catch_up([UUID(int=1)], at(0))
        feed.ping_due = True
        assert await feed.next() == b": ping\n\n"
        assert reader.asked == [[1]]
        reader.answers = True
        assert ids(await feed.next()) == [cursor_of(at(0))]

    async def test_only_an_idle_one_moves_its_cursor_with_a_heartbeat(self, feed: Feed, reader: Reader) -> None:
        await opened(feed)
        feed.advance(at(5))
        feed.advance(at(4))
        feed.ping_due = True
        assert ids(await feed.next()) == [cursor_of(at(5))]
        reader.answers = False
        feed.catch_up([UUID(int=1)], at(0))
        feed.ping_due = True
        assert await feed.next() == b": ping\n\n"

    async def test_a_reset_says_so_in_an_event_of_its_own(self, feed: Feed) -> None:
        feed.open_with(None, reset=True)
        piece: Any = await feed.next()
        assert b"event: reset\ndata: {}\nid: " in piece


async def test_rows_of_a_page_begin_with_their_states_and_go_on_with_the_newest(reader: Reader) -> None:
    def shown(task: int, version: int) -> State:
        return State(UUID(int=task), USER, version, False, b"%d.%d" % (task, version))

    reader.add(shown(1, 3), shown(2, 5))
    rows = stream_of_rows([1, 2, 3], reader)
    rows.offer(shown(2, 6))
    assert b": connected" in (await rows.next() or b"")
    assert re.findall(rb"data: (.+)", await rows.next() or b"") == [b"1.3", b"2.6"]
    for version in range(7, 20):
        rows.offer(shown(1, version))
    assert re.findall(rb"data: (.+)", await rows.next() or b"") == [b"1.19"]
    assert reader.asked == [[1, 3]]
