"""Which streams and requests watch which tasks, and the versions they were shown. Belongs to the event loop."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from uuid import UUID

from app.live.piece_streams import PieceStream, WorkflowStream
from app.live.queries import Found
from app.live.streams import Feed, RowsStream, Stream, TaskStream

# The number of tasks of a user whose versions are remembered. Other tasks may be shown twice.
MAX_KNOWN = 2000


class TaskWatch:
    """One task that streams show, whose log or output they show, or that requests wait for."""

    __slots__ = ("_attached_bytes", "_attempt", "logs", "streams", "version", "waiting", "workflows")

    def __init__(self) -> None:
        self.streams: set[TaskStream | RowsStream] = set()
        # Those of its log and of its output.
        self.logs: set[PieceStream] = set()
        # Those of its workflow, which read that and not the task.
        self.workflows: set[WorkflowStream] = set()
        self._attached_bytes = self._attempt = 0
        self.waiting: set[asyncio.Event] = set()
        self.version = 0

    def show(self, found: Found) -> None:
        """Offer a row that was read to the streams; release the waiting requests if the task has ended."""
        if found.attached_bytes is not None:
            self.compare_bytes(found.attached_bytes)
        if found.version <= self.version:
            return
        self.version = found.version
        if found.frame is not None:
            for stream in self.streams:
                stream.offer(found.frame)
        self.tell_workflows()
        if found.ended:
            self.release()
        if found.ended or found.attempt != self._attempt:
            self._attempt = found.attempt
            self.tell_of_lines()

    @property
    def wants_row(self) -> bool:
        """Whether a stream or a request shows the task itself."""
        return bool(self.streams or self.logs or self.waiting)

    def leave(self, stream: Stream) -> None:
        self.streams.discard(stream)
        self.logs.discard(stream)
        self.workflows.discard(stream)

    def tell_workflows(self) -> None:
        """The task has another state, or is deleted."""
        for stream in self.workflows:
            stream.task_changed()

    def tell_of_lines(self) -> None:
        """New lines or output may be there, another attempt has begun, or no more will come."""
        for stream in self.logs:
            stream.tell()

    def compare_bytes(self, attached_bytes: int) -> None:
        """Tell of lines if what is kept with the task has changed: its lines and its output are a part of that."""
        if attached_bytes != self._attached_bytes:
            self._attached_bytes = attached_bytes
            self.tell_of_lines()

    def release(self) -> None:
        for event in self.waiting:
            event.set()

    def end(self) -> None:
        """End all streams and waits: the task was deleted."""
        self.release()
        for stream in list(self.streams):
            stream.end_task()
        for lines in list(self.logs):
            lines.close()
        self.tell_workflows()


class UserWatch:
    """All tasks of one user."""

    __slots__ = ("_active", "_known", "feeds", "shown_until")

    def __init__(self, shown_until: datetime) -> None:
        self.feeds: set[Feed] = set()
        # All changes up to this moment of the database's clock have been offered to the feeds.
        self.shown_until = shown_until
        self._known: dict[UUID, int] = {}
        self._active: set[UUID] = set()

    def is_new(self, task_id: UUID, version: int) -> bool:
        """Return whether this version is newer than the one that was shown."""
        return version > self._known.get(task_id, 0)

    def show(self, found: Found) -> None:
        """Offer a row that was read to the feeds, if it is new."""
        if found.frame is None or not self.is_new(found.task_id, found.version):
            return
        self.note(found)
        for feed in self.feeds:
            feed.offer(found.frame, self.shown_until)

    def note(self, found: Found) -> None:
        """Remember the version that was shown, and forget the oldest one above the limit."""
        self._known.pop(found.task_id, None)
        self._known[found.task_id] = found.version
        (self._active.discard if found.ended else self._active.add)(found.task_id)
        if len(self._known) > MAX_KNOWN:
            self.forget(next(iter(self._known)))

    def forget(self, task_id: UUID) -> None:
        self._known.pop(task_id, None)
        self._active.discard(task_id)

    def active(self) -> Iterator[tuple[UUID, int]]:
        """Yield the tasks that may still change, with the version that was shown."""
        return ((task_id, self._known[task_id]) for task_id in self._active)

    def advance(self, moment: datetime) -> None:
        """Note that all changes up to this moment have been offered."""
        self.shown_until = max(self.shown_until, moment)
        for feed in self.feeds:
            feed.advance(self.shown_until)


class Watches:
    """All watches of one process."""

    def __init__(self) -> None:
        self.tasks: dict[UUID, TaskWatch] = {}
        self.users: dict[UUID, UserWatch] = {}
        self.streams: set[Stream] = set()
        self._streams_by_user: Counter[UUID] = Counter()

    def __bool__(self) -> bool:
        return bool(self.tasks or self.users)

    def stream_count(self, user_id: UUID) -> int:
        return self._streams_by_user[user_id]

    def task(self, task_id: UUID) -> TaskWatch:
        """Return the watch of a task; creates it if there is none."""
        watch = self.tasks.get(task_id)
        if watch is None:
            watch = self.tasks[task_id] = TaskWatch()
        return watch

    def drop_idle(self, task_id: UUID) -> None:
        """Remove the watch of a task without streams and waiting requests."""
        watch = self.tasks.get(task_id)
        if watch is not None and not watch.wants_row and not watch.workflows:
            del self.tasks[task_id]

    def needs_row(self, task_id: UUID) -> bool:
        """Return whether news of the task are to be read; else those who watch it need but hear that there are some."""
        watch = self.tasks.get(task_id)
        return watch is None or watch.wants_row or bool(self.users)

    def enter(self, stream: Stream) -> None:
        self.streams.add(stream)
        self._streams_by_user[stream.user_id] += 1

    def leave(self, stream: Stream) -> None:
        """Remove a stream. May be called twice."""
        if stream in self.streams:
            self.streams.discard(stream)
            self._streams_by_user[stream.user_id] -= 1
            if not self._streams_by_user[stream.user_id]:
                del self._streams_by_user[stream.user_id]

    def is_new(self, task_id: UUID, user_id: UUID, version: int) -> bool:
        """Return whether a stream has yet to show this version.

        Only reads, because it is called from another thread.
        """
        task, user = self.tasks.get(task_id), self.users.get(user_id)
        by_name = task is not None and bool(task.streams) and version > task.version
        return by_name or (user is not None and user.is_new(task_id, version))

    def shown(self) -> dict[UUID, int]:
        """Return the watched tasks that may change, with the lowest version that was shown, for a comparison."""
        found = {task_id: watch.version for task_id, watch in self.tasks.items()}
        for user in self.users.values():
            for task_id, version in user.active():
                found[task_id] = min(version, found.get(task_id, version))
        return found

    def show(self, found: Found) -> None:
        """Pass a row that was read to its watches."""
        task, user = self.tasks.get(found.task_id), self.users.get(found.user_id)
        if task is not None:
            task.show(found)
        if user is not None:
            user.show(found)

    def forget(self, missing: Iterable[UUID], gone: Iterable[UUID]) -> None:
        """Forget rows that were not found. Those in `gone` were requested by id, so they were deleted."""
        for task_id in gone:
            if task_id in self.tasks:
                self.tasks[task_id].end()
        for user in self.users.values():
            for task_id in missing:
                user.forget(task_id)
