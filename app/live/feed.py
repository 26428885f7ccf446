"""The streams of many tasks: the newest state of each one that has changed, in an order from which a client resumes."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from datetime import datetime
from uuid import UUID

from app.live.streams import NEVER, PING, Credential, Piece, State, Subscription, cursor_of

# Bytes of rendered states that a stream keeps; further states are read again when their turn comes.
WAITING_BYTES = 64 * 1024
# A client with more pending tasks than this is disconnected, and resumes.
MAX_PENDING = 2000
# Tasks that are read again in one query.
READ_BATCH = 50


# The states of tasks that were read again, and those of them that are left. Whose state is missing was deleted.
Reloaded = tuple[list[State], Sequence[UUID]]
# Reads as many as fit into WAITING_BYTES, at least one. Returns None in an outage of the database: the stream retries.
Reload = Callable[[Sequence[UUID]], Awaitable[Reloaded | None]]


class Feed(Subscription):
    """Sends the newest state of each changed task, in the order of the changes: of all tasks of a user, or of some.

    What it sends next is what waits here; `read_again` stands for those states that are not kept.
    """

    __slots__ = ("_reload", "_waiting", "_waiting_bytes", "cursor")

    def __init__(
        self,
        credential: Credential,
        seconds: float,
        read_again: Reload,
        cursor: datetime = NEVER,
        task_ids: Collection[UUID] = (),
    ) -> None:
        super().__init__(credential, seconds, self._read_waiting, task_ids)
        self._reload = read_again
        # For each task, its state and the cursor from which a client may resume that has this state and all before it.
        self._waiting: dict[UUID, tuple[State | None, datetime]] = {}
        self._waiting_bytes = 0
        self.cursor = cursor

    def open_with(self, since: datetime | None = None, *, reset: bool = False) -> None:
        """Set the first piece: a cursor before any event, or `reset` if too many changes were missed."""
        again = b"event: reset\ndata: {}\n" if reset else b": connected\n"
        self.begin(Piece(again + b"id: %b\n\n" % cursor_of(since or self.cursor).encode(), 0))

    def offer(self, state: State, cursor: datetime = NEVER) -> None:
        """Queue a state at the end, even if an older state of the task waits.

        The cursor of the task must not skip the states in between.
        """
        before, _ = self._waiting.pop(state.task_id, (None, cursor))
        self._waiting_bytes -= len(before.data) if before else 0
        fits = not self._waiting or self._waiting_bytes + len(state.data) <= WAITING_BYTES
        self._waiting_bytes += len(state.data) if fits else 0
        self._waiting[state.task_id] = (state if fits else None, cursor)
        if len(self._waiting) > MAX_PENDING:
            self.close()
        self.tell()

    def catch_up(self, task_ids: Iterable[UUID], since: datetime) -> None:
        """Queue missed tasks, to be read when their turn comes. Tasks that already wait have newer states."""
        later, self._waiting = self._waiting, {}
        for task_id in task_ids:
            if task_id not in later:
                self._waiting[task_id] = (None, since)
        self._waiting |= later
        self.tell()

    def advance(self, cursor: datetime) -> None:
        """Note that every change up to this cursor has been offered."""
        self.cursor = max(self.cursor, cursor)

    async def _read_waiting(self, _last: int) -> Piece | None:
        """Return the first states, as many as a stream keeps; None where they must be read again and cannot be."""
        first = next(iter(self._waiting.values()), None)
        if first is not None and first[0] is None and not await self._reload_first():
            return None
        events: list[bytes] = []
        size = 0
        while self._waiting and size < WAITING_BYTES:
            task_id = next(iter(self._waiting))
            state, cursor = self._waiting[task_id]
            if state is None:
                break
            del self._waiting[task_id]
            self._waiting_bytes -= len(state.data)
            events.append(state.event(cursor_of(cursor)))
            size += len(events[-1])
        return Piece(b"".join(events), 0, more=bool(self._waiting))

    async def _reload_first(self) -> bool:
        """Read the first tasks whose state is not kept, several in one query. Returns False in an outage."""
        ids: list[UUID] = []
        for task_id, (state, _) in self._waiting.items():
            if state is not None or len(ids) == READ_BATCH:
                break
            ids.append(task_id)
        asked = {task_id: self._waiting[task_id] for task_id in ids}
        reloaded = await self._reload(ids)
        if reloaded is None:
            return False
        states, left = reloaded
        read = {state.task_id: state for state in states}
        head: dict[UUID, tuple[State | None, datetime]] = {}
        for task_id in ids[: len(ids) - len(left)]:
            waits = asked[task_id]
            if self._waiting.get(task_id) is not waits:
                continue  # a newer state has arrived: another tuple, even where it was not kept
            del self._waiting[task_id]
            if task_id in read:  # otherwise it was deleted
                head[task_id] = (read[task_id], waits[1])
                self._waiting_bytes += len(read[task_id].data)
        self._waiting = head | self._waiting
        return True

    def _ping(self) -> bytes:
        if self._waiting:
            return PING
        return b": ping\nid: %b\n\n" % cursor_of(self.cursor).encode()
