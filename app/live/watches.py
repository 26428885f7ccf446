"""Which subscriptions and requests watch which tasks, and the versions they were shown. Belongs to the event loop."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from uuid import UUID

from app.live.feed import Feed
from app.live.streams import News, State, Subscription

# The number of tasks of a user whose versions are remembered. Other tasks may be shown twice.
MAX_KNOWN = 2000


class TaskWatch:
    """One task that subscriptions follow, or that requests wait for."""

    __slots__ = ("_attached_bytes", "_attempt", "subscriptions", "version", "waiting")

    def __init__(self) -> None:
        self.subscriptions: set[Subscription] = set()
        self.waiting: set[asyncio.Event] = set()
        self._attached_bytes = self._attempt = 0
        self.version = 0

    def show(self, state: State) -> None:
        """Pass on a row that was read, if it is newer; release the waiting requests if the task has ended."""
        if state.attached_bytes is not None:
            self.compare_bytes(state.attached_bytes)
        if state.version <= self.version:
            return
        self.version = state.version
        has_lines = state.ended or state.attempt != self._attempt
        self._attempt = state.attempt
        for each in tuple(self.subscriptions):
            if each.news is News.STATES:
                if state.data:
                    each.offer(state)
            elif has_lines or each.news is News.CHANGES:
                each.tell()
        if state.ended:
            self.release()

    def of(self, *news: News) -> list[Subscription]:
        """Return the subscriptions that hear of these news. May be called from another thread."""
        return [each for each in tuple(self.subscriptions) if each.news in news]

    def tell(self, *news: News) -> None:
        """Tell the subscriptions that hear of these news."""
        for each in self.of(*news):
            each.tell()

    @property
    def wants_row(self) -> bool:
        """Whether a subscription or a request needs the row of the task."""
        return bool(self.waiting or self.of(News.STATES, News.LINES))

    def compare_bytes(self, attached_bytes: int) -> None:
        """Tell of lines if what is kept with the task has changed: its lines and its output are a part of that."""
        if attached_bytes != self._attached_bytes:
            self._attached_bytes = attached_bytes
            self.tell(News.LINES)

    def release(self) -> None:
        for event in self.waiting:
            event.set()

    def end(self) -> None:
        """Release the waiting requests, and let the subscriptions find out that the task was deleted."""
        self.release()
        self.tell(*News)


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

    def show(self, state: State) -> None:
        """Offer a row that was read to the feeds, if it is new, and remember its version."""
        if not state.data or not self.is_new(state.task_id, state.version):
            return
        self._known.pop(state.task_id, None)  # to the end: the oldest one is forgotten
        self._known[state.task_id] = state.version
        (self._active.discard if state.ended else self._active.add)(state.task_id)
        if len(self._known) > MAX_KNOWN:
            self.forget(next(iter(self._known)))
        for feed in self.feeds:
            feed.offer(state, self.shown_until)

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
        self.streams: set[Subscription] = set()
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
        """Remove the watch of a task without subscriptions and waiting requests."""
        watch = self.tasks.get(task_id)
        if watch is not None and not watch.subscriptions and not watch.waiting:
            del self.tasks[task_id]

    def needs_row(self, task_id: UUID) -> bool:
        """Return whether news of the task are to be read; else its subscriptions need but hear that there are some."""
        watch = self.tasks.get(task_id)
        return watch is None or watch.wants_row or bool(self.users)

    def enter(self, stream: Subscription) -> None:
        self.streams.add(stream)
        self._streams_by_user[stream.credential.user_id] += 1
        for task_id in stream.task_ids:
            self.task(task_id).subscriptions.add(stream)

    def leave(self, stream: Subscription) -> None:
        """Remove a stream, with the watches that are then idle. May be called twice."""
        user_id = stream.credential.user_id
        if stream in self.streams:
            self.streams.discard(stream)
            self._streams_by_user[user_id] -= 1
            if not self._streams_by_user[user_id]:
                del self._streams_by_user[user_id]
        for task_id in stream.task_ids:
            if task_id in self.tasks:
                self.tasks[task_id].subscriptions.discard(stream)
                self.drop_idle(task_id)
        user = self.users.get(user_id)
        if user is not None:
            user.feeds.discard(stream)
            if not user.feeds:
                del self.users[user_id]

    def is_new(self, task_id: UUID, user_id: UUID, version: int) -> bool:
        """Return whether a stream has yet to show this version.

        Only reads, because it is called from another thread.
        """
        task, user = self.tasks.get(task_id), self.users.get(user_id)
        by_name = task is not None and version > task.version and bool(task.of(News.STATES))
        return by_name or (user is not None and user.is_new(task_id, version))

    def shown(self) -> dict[UUID, int]:
        """Return the watched tasks that may change, with the lowest version that was shown, for a comparison."""
        found = {task_id: watch.version for task_id, watch in self.tasks.items()}
        for user in self.users.values():
            for task_id, version in user.active():
                found[task_id] = min(version, found.get(task_id, version))
        return found

    def show(self, state: State) -> None:
        """Pass a row that was read to its watches."""
        task, user = self.tasks.get(state.task_id), self.users.get(state.user_id)
        if task is not None:
            task.show(state)
        if user is not None:
            user.show(state)

    def forget(self, missing: Iterable[UUID], gone: Iterable[UUID]) -> None:
        """Forget rows that were not found. Those in `gone` were requested by id, so they were deleted."""
        for task_id in gone:
            if task_id in self.tasks:
                self.tasks[task_id].end()
        for user in self.users.values():
            for task_id in missing:
                user.forget(task_id)
