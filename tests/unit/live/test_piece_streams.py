"""A stream of log lines sends each piece once, and misses no news that comes while it reads."""

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import pytest

from app.live import streams
from app.live.queries import output_piece
from app.live.streams import Credential, News, Piece, State, Subscription
from app.live.watches import Watches
from app.models.task import TaskOutput
from app.services.tasks.task_history import SoFar

pytestmark = pytest.mark.anyio
USER, TASK = UUID(int=1), UUID(int=7)
CREDENTIAL = Credential(UUID(int=3), is_key=False, role="user", user_id=USER)


def chunk(seq: int) -> TaskOutput:
    at = datetime(2026, 11, 25, tzinfo=UTC)
    return TaskOutput(seq=seq, stream="output", attempt=seq >> 32, at=at, chunk={"a\n": 1}, bytes=1)


def told(piece: Piece) -> list[tuple[str, int]]:
    """The kind and the number of each event."""
    return [
        (kind, int(number))
        for kind, number in re.findall(r"event: (\w+)\nid: (\d+)\ndata: .+\n\n", piece.events.decode())
    ]


class TestOutput:
    """`S` is the number before the first chunk of the first attempt."""

    S = 1 << 32

    def test_a_chunk_is_one_line_of_json(self) -> None:
        piece = output_piece(SoFar([chunk(self.S + 1)], more=False, ended=True, attempt=1), 0)
        assert piece.events == (
            b'event: output\nid: 4294967297\ndata: {"seq":4294967297,"stream":"output","attempt":1,'
            b'"at":"2026-11-25T00:00:00Z","chunk":{"a\\n":1}}\n\n'
        )
        assert (piece.last, piece.more, piece.ended) == (self.S + 1, False, True)

    def test_a_reset_stands_before_each_attempt_but_the_first_that_is_seen(self) -> None:
        found = SoFar(
            [chunk(2 * self.S + 1), chunk(2 * self.S + 2), chunk(5 * self.S + 1)], more=False, ended=False, attempt=5
        )
        assert told(output_piece(found, 0)) == [
            ("output", 2 * self.S + 1), ("output", 2 * self.S + 2), ("reset", 5 * self.S), ("output", 5 * self.S + 1),
        ]  # fmt: skip
        assert told(output_piece(found, self.S))[0] == ("reset", 2 * self.S)
        assert b'data: {"attempt":5}\n' in output_piece(found, 0).events

    def test_an_attempt_that_has_emitted_nothing_is_told_of_once(self) -> None:
        def look(after: int, *, more: bool = False) -> tuple[list[tuple[str, int]], int]:
            piece = output_piece(SoFar([], more=more, ended=False, attempt=2), after)
            return told(piece), piece.last

        assert look(0) == ([], 2 * self.S)
        assert look(self.S) == look(self.S + 9) == ([("reset", 2 * self.S)], 2 * self.S)
        assert look(2 * self.S) == ([], 2 * self.S)
        assert look(self.S + 9, more=True) == ([], self.S + 9)


class Lines:
    """What the stream reads: the pieces in turn, then nothing. None: the database is away."""

    def __init__(self, *pieces: Piece | None) -> None:
        self.pieces = list(pieces)
        self.asked: list[int] = []
        self.meanwhile: Callable[[], None] = lambda: None
        self.stream = Subscription(CREDENTIAL, 3600, self._read, [TASK], News.LINES)

    async def _read(self, after: int) -> Piece | None:
        self.asked.append(after)
        await asyncio.sleep(0)
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        return self.pieces.pop(0) if self.pieces else Piece(b"", after)

    async def all(self) -> list[bytes]:
        sent = []
        while (piece := await asyncio.wait_for(self.stream.next(), 30)) is not None:
            sent.append(piece)
        return sent


async def test_pieces_follow_each_other_until_the_task_has_ended() -> None:
    lines = Lines(Piece(b"b", 2, more=True), Piece(b"c", 3, ended=True))
    lines.stream.begin(Piece(b"a", 1, more=True))
    first, *rest = await lines.all()
    assert first.startswith(b"retry: ")
    assert first.endswith(b"\na")
    assert (rest, lines.asked) == ([b"b", b"c"], [1, 2])


async def test_without_a_line_it_says_that_it_is_connected_and_ends_with_the_task() -> None:
    lines = Lines(Piece(b"", 0, ended=True))
    lines.stream.begin(Piece(b"", 0))
    opened = await lines.stream.next()
    assert opened is not None
    assert opened.endswith(b": connected\n\n")
    lines.stream.tell()
    assert await lines.all() == []


async def test_news_that_come_while_it_reads_are_read() -> None:
    lines = Lines(Piece(b"", 1), Piece(b"b", 2, ended=True))
    lines.stream.begin(Piece(b"a", 1))
    await lines.stream.next()
    lines.meanwhile = lines.stream.tell
    lines.stream.tell()
    assert await lines.all() == [b"b"]


async def test_an_outage_is_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "READ_RETRY_SECONDS", 0.01)
    lines = Lines(None, None, Piece(b"b", 2, ended=True))
    lines.stream.begin(Piece(b"a", 1))
    await lines.stream.next()
    lines.stream.tell()
    assert (await lines.all(), lines.asked) == ([b"b"], [1, 1, 1])


async def test_it_is_told_once_of_each_change_of_what_is_kept_and_of_the_end() -> None:
    lines, watches = Lines(), Watches()
    watches.enter(lines.stream)

    def is_told(version: int, attached_bytes: int, *, ended: bool = False) -> bool:
        lines.stream._is_due = False
        watches.show(State(TASK, USER, version, ended, attached_bytes=attached_bytes))
        return lines.stream._is_due

    assert is_told(1, 100)
    assert not is_told(2, 100)
    assert is_told(2, 200)
    assert is_told(3, 200, ended=True)
    watches.drop_idle(TASK)
    assert TASK in watches.tasks
    watches.leave(lines.stream)
    assert TASK not in watches.tasks


async def test_a_deletion_of_the_task_is_read_as_the_end() -> None:
    lines, watches = Lines(Piece(b"", 1, ended=True)), Watches()
    watches.enter(lines.stream)
    lines.stream.begin(Piece(b"a", 1))
    await lines.stream.next()
    watches.forget([TASK], gone=[TASK])
    assert (await lines.all(), lines.asked) == ([], [1])


def of_workflow(tasks: list[UUID], states: Lines) -> Subscription:
    return Subscription(CREDENTIAL, 3600, states._read, tasks, News.CHANGES, pause=0.01)


class TestOfAWorkflow:
    async def test_news_of_its_tasks_have_it_read_once_and_no_task(self) -> None:
        lines = Lines(Piece(b"", 1), Piece(b"b", 2), Piece(b"c", 3, ended=True))
        tasks = [UUID(int=number) for number in range(100)]
        stream = of_workflow(tasks, lines)
        lines.stream, watches = stream, Watches()
        watches.enter(stream)
        assert not any(map(watches.needs_row, tasks))
        stream.begin(Piece(b"a", 1))
        first = await stream.next()
        assert first is not None
        assert first.endswith(b"\na")
        looked_again = asyncio.Event()
        lines.meanwhile = looked_again.set
        following = asyncio.create_task(stream.next())
        await asyncio.wait_for(looked_again.wait(), 30)
        for each in tasks:
            watches.tasks[each].tell(News.CHANGES)
        assert await asyncio.wait_for(following, 30) == b"b"
        watches.tasks[TASK].end()
        assert (await lines.all(), lines.asked) == ([b"c"], [1, 1, 2])

    async def test_what_has_changed_since_its_first_piece_was_read_is_sent(self) -> None:
        """Another stream may have read that piece, and no change is told of again."""
        lines = Lines(Piece(b"b", 2, ended=True))
        lines.stream = of_workflow([TASK], lines)
        lines.stream.begin(Piece(b"a", 1))
        assert [piece[-1:] for piece in await lines.all()] == [b"a", b"b"]

    async def test_a_task_that_is_shown_too_is_read(self) -> None:
        watches = Watches()
        watches.enter(of_workflow([TASK], Lines()))
        watches.task(TASK).waiting.add(asyncio.Event())
        assert watches.needs_row(TASK)
