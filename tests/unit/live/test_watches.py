"""What each stream is shown: every version once, and nothing that was deleted."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from app.errors import TooManyStreams
from app.live import queries, watcher as watcher_module
from app.live.feed import Feed, Reloaded
from app.live.queries import Standing
from app.live.streams import NEVER, Credential, Piece, State, Subscription, cursor_of, moment_of
from app.live.watcher import REPLAY_TASKS, Watcher
from app.live.watches import MAX_KNOWN, UserWatch, Watches

pytestmark = pytest.mark.anyio
START = datetime(2026, 11, 25, tzinfo=UTC)
USER, OTHER = UUID(int=1), UUID(int=2)


def credential(user: UUID = USER, expires_at: datetime | None = None) -> Credential:
    return Credential(UUID(int=3), is_key=False, role="user", user_id=user, expires_at=expires_at)


def found(version: int, *, task: int = 7, user: UUID = USER, ended: bool = False, rendered: bool = True) -> State:
    return State(UUID(int=task), user, version, ended, b"{}" if rendered else b"")


async def deleted(after: int) -> Piece:
    """What the watcher reads of a task that was deleted."""
    return Piece(b"", after, ended=True)


class World:
    """One stream of task 7, and a feed of each user."""

    def __init__(self) -> None:
        self.watches = Watches()
        self.stream = Subscription(credential(), 3600, deleted, [UUID(int=7)])
        self.watches.task(UUID(int=7)).subscriptions.add(self.stream)
        self.feeds = {user: Feed(credential(user), 3600, self._nothing, START) for user in (USER, OTHER)}
        for user, feed in self.feeds.items():
            self.watches.users[user] = UserWatch(START)
            self.watches.users[user].feeds.add(feed)

    async def _nothing(self, _ids: Sequence[UUID]) -> Reloaded:
        return [], []

    def waiting(self, user: UUID = USER) -> list[tuple[int, int]]:
        return [(task.int, state.version) for task, (state, _) in self.feeds[user]._waiting.items() if state]


@pytest.fixture
async def world() -> World:
    return World()


async def test_a_row_goes_to_its_streams_and_to_its_user_alone(world: World) -> None:
    world.watches.show(found(1))
    world.watches.show(found(1, task=8, user=OTHER))
    assert world.stream._pending is not None
    assert (world.waiting(), world.waiting(OTHER)) == ([(7, 1)], [(8, 1)])


async def test_what_was_shown_is_no_news_and_what_was_shown_to_one_may_be_news_to_another(world: World) -> None:
    watches = world.watches
    watches.show(found(3, rendered=False))
    assert watches.tasks[UUID(int=7)].version == 3
    assert watches.is_new(UUID(int=7), USER, 3)  # the feed has not seen it
    watches.show(found(3))
    assert not watches.is_new(UUID(int=7), USER, 3)
    assert not watches.is_new(UUID(int=7), USER, 2)
    assert watches.is_new(UUID(int=7), USER, 4)
    assert not watches.is_new(UUID(int=9), UUID(int=99), 1)
    watches.show(found(2))
    assert world.waiting() == [(7, 3)]


async def test_waiting_requests_are_released_by_the_end_and_by_a_deletion(world: World) -> None:
    for number, ends in ((7, True), (8, False)):
        event = asyncio.Event()
        watch = world.watches.task(UUID(int=number))
        watch.waiting.add(event)
        world.watches.show(found(1, task=number))
        assert not event.is_set()
        if ends:
            world.watches.show(found(2, task=number, ended=True, rendered=False))
        else:
            world.watches.forget([UUID(int=number)], gone=[UUID(int=number)])
        assert event.is_set()
    assert not world.stream.closed


async def test_a_deletion_alone_closes_the_streams_of_the_task_and_not_those_of_its_user(world: World) -> None:
    world.watches.show(found(1))
    assert await world.stream.next_piece() is not None
    world.watches.forget([UUID(int=7)], gone=[])  # a row that was not asked for by its id
    assert not world.stream._is_due
    world.watches.forget([UUID(int=7)], gone=[UUID(int=7)])
    ended = await world.stream.next_piece()
    assert (ended and ended.events, world.stream.closed) == (b"", True)
    assert not world.feeds[USER].closed


async def test_rows_of_a_page_go_on_without_the_one_that_was_deleted(world: World) -> None:
    ids = [UUID(int=7), UUID(int=8)]
    rows = Feed(credential(), 3600, world._nothing, task_ids=ids)
    rows.catch_up(ids, NEVER)
    world.watches.enter(rows)
    world.watches.forget([UUID(int=7)], gone=[UUID(int=7)])
    assert not rows.closed
    world.watches.show(found(2, task=8))
    assert [state.version for state, _ in rows._waiting.values() if state] == [2]
    world.watches.leave(rows)
    assert not world.watches.tasks.keys() & {UUID(int=8)}


async def test_what_may_still_change_is_compared_by_the_version_that_was_shown(world: World) -> None:
    world.watches.show(found(2))
    world.watches.show(found(5, task=8))
    world.watches.show(found(6, task=9, ended=True))
    assert world.watches.shown() == {UUID(int=7): 2, UUID(int=8): 5}


async def test_what_is_known_of_a_user_stays_within_its_bound(world: World) -> None:
    for task in range(MAX_KNOWN + 10):
        world.watches.show(found(1, task=task + 100))
    user = world.watches.users[USER]
    assert len(user._known) == len(user._active) == MAX_KNOWN
    assert user.is_new(UUID(int=100), 1)


async def test_each_event_carries_what_had_been_shown_before_it(world: World) -> None:
    user, feed = world.watches.users[USER], world.feeds[USER]
    world.watches.show(found(1))
    user.advance(START + timedelta(seconds=4))
    world.watches.show(found(1, task=8))
    cursors = [cursor for _, cursor in feed._waiting.values()]
    assert cursors == [START, START + timedelta(seconds=4)]
    assert feed.cursor == START + timedelta(seconds=4)
    assert moment_of("0") == datetime(1970, 1, 1, tzinfo=UTC)


async def test_streams_are_counted_by_user_until_they_leave(world: World) -> None:
    world.watches.enter(world.stream)
    world.watches.enter(world.feeds[USER])
    assert (world.watches.stream_count(USER), world.watches.stream_count(OTHER)) == (2, 0)
    for _ in range(2):
        world.watches.leave(world.stream)
    assert world.watches.stream_count(USER) == 1
    for _ in range(2):
        world.watches.leave(world.feeds[USER])
    assert world.watches.stream_count(USER) == 0
    assert not world.watches._streams_by_user


class TestTheWatcher:
    """What it asks the database is told here."""

    @pytest.fixture
    async def watcher(self, monkeypatch: pytest.MonkeyPatch) -> Watcher:
        monkeypatch.setattr(Watcher, "_start_listening", lambda _: None)
        monkeypatch.setattr(queries, "database_time", lambda: START)
        monkeypatch.setattr(watcher_module, "STREAMS", 2)
        return Watcher()

    async def test_of_one_change_more_than_it_sends_again_says_reset(
        self, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def changed(_user: UUID, _since: datetime, limit: int) -> list[UUID]:
            return [UUID(int=number) for number in range(min(limit, there))]

        monkeypatch.setattr(queries, "changed_since", changed)
        for there, resets in ((REPLAY_TASKS, False), (REPLAY_TASKS + 1, True)):
            feed = await watcher.feed(credential(), cursor_of(START - timedelta(seconds=1)))
            assert (b"event: reset" in (await feed.next() or b""), len(feed._waiting)) == (
                resets,
                0 if resets else there,
            )
            watcher.leave(feed)

    async def test_takes_a_cursor_of_the_future_for_now(
        self, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The database's clock was put back: what changes from now on is behind the cursor that is sent."""
        monkeypatch.setattr(queries, "changed_since", lambda _user, since, _limit: [UUID(int=7)] * (since <= START))
        feed = await watcher.feed(credential(), cursor_of(START + timedelta(hours=1)))
        assert f"id: {cursor_of(START)}\n".encode() in (await feed.next() or b"")
        assert [*feed._waiting] == [UUID(int=7)]

    async def test_has_so_many_streams_of_all_users(self, watcher: Watcher) -> None:
        for user in (USER, OTHER):
            await watcher.feed(credential(user), None)
        with pytest.raises(TooManyStreams, match="This API process has too many"):
            await watcher.feed(credential(UUID(int=4)), None)

    async def test_ends_a_stream_with_the_time_of_its_credential(
        self, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        until = credential(expires_at=START + timedelta(seconds=2))
        feed = await watcher.feed(until, None)
        for second, ends in ((1, False), (2, True)):
            standing = Standing({until.id: "user"}, START + timedelta(seconds=second))
            monkeypatch.setattr(queries, "read_standing", lambda *_, standing=standing: standing)
            await watcher._check_credentials()
            assert feed.closed is ends
