"""How much one user may have waiting and send: tasks queued, bytes of their arguments, tasks a minute.

No statement per task and no row that everybody writes: each process remembers what the database last told it about a
user and adds what it has accepted since. It looks again when that has used up a sixteenth of the room that was left, so
that many processes together overrun a quota by little (docs/adr/0021). Within one process a quota is exact.
"""

import logging
import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.core.config import Settings, get_settings
from app.db.base import json_size
from app.db.outage import first_line
from app.db.session import SessionLocal
from app.errors import QuotaExceeded, TooManyBytesQueued, TooManySubmissions, TooManyTasksQueued
from app.models.task import Task
from app.schemas.task import TaskCreate

logger = logging.getLogger(__name__)

WINDOW_SECONDS = 60
# A look takes at most so much of the time: one of 100 ms is not repeated for two seconds. And one that took longer than
# SLOW_LOOK (some ten thousand rows) is not waited for when it is repeated.
MIN_INTERVAL, LOOKS_SHARE, SLOW_LOOK = 1.0, 0.05, 0.05
SHARE_OF_ROOM = 16
# What a queue that is full needs to have room again is anybody's guess: so long a client is asked to wait.
QUEUE_RETRY_SECONDS = 5
MAX_USERS = 10_000

# By indexes that lead to this user's rows alone: of the queue at most quota + 1 and never a finished one; of the last
# minute none that is older by more than the slack, which forgives processes whose clock made older ids.
_LOOK = text("""
SELECT queued.tasks, queued.bytes, recent.tasks, recent.seconds FROM (
    SELECT count(*) AS tasks, coalesce(sum(octet_length(args) + octet_length(kwargs)), 0)::bigint AS bytes
    FROM (
        (SELECT args, kwargs FROM tasks WHERE user_id = :user_id AND status = 'pending' ORDER BY id DESC LIMIT :queued)
        UNION ALL
        (SELECT args, kwargs FROM tasks WHERE user_id = :user_id AND status = 'running' ORDER BY id DESC LIMIT :queued)
    ) AS active
) AS queued, (
    SELECT count(*) AS tasks,
        coalesce(extract(epoch FROM min(created_at) + :window * interval '1 second' - clock_timestamp()), 0)::float
            AS seconds
    FROM tasks
    WHERE :rated AND user_id = :user_id AND id > CAST(:oldest AS uuid)
        AND created_at > statement_timestamp() - :window * interval '1 second'
) AS recent
""")
_SLACK_SECONDS = 60
_ALL = 2**62


class Load(NamedTuple):
    """An amount of work: so many tasks, with so many bytes of arguments."""

    tasks: int
    bytes: int

    def plus(self, other: "Load") -> "Load":
        return Load(self.tasks + other.tasks, self.bytes + other.bytes)

    def minus(self, other: "Load") -> "Load":
        return Load(self.tasks - other.tasks, self.bytes - other.bytes)


NOTHING = Load(0, 0)


def load_of(tasks: Sequence[TaskCreate | Task]) -> Load:
    return Load(len(tasks), sum(json_size(task.args) + json_size(task.kwargs) for task in tasks))


class Minute:
    """What this process has accepted in the last minute, counted by the second.

    The rows do not tell it all: one that was retried counts once more, and one that was deleted counts still.
    """

    def __init__(self) -> None:
        self._seconds: deque[list[int]] = deque()  # [second of the monotonic clock, tasks]
        self._total = 0

    def add(self, tasks: int) -> None:
        second = int(time.monotonic())
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append([second, 0])
        self._seconds[-1][1] += tasks
        self._total += tasks

    def tasks(self) -> int:
        while self._seconds and self._seconds[0][0] <= time.monotonic() - WINDOW_SECONDS - 1:
            self._total -= self._seconds.popleft()[1]
        return self._total

    def until_less(self) -> float:
        """Seconds until the oldest of them are a minute old."""
        return self._seconds[0][0] + WINDOW_SECONDS + 1 - time.monotonic() if self._seconds else 0


@dataclass
class Usage:
    """What this process knows of one user."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    look: threading.Lock = field(default_factory=threading.Lock)
    queued: Load = NOTHING
    recent: int = 0
    # Until the last minute's oldest task is no longer one of it, at the moment of the look.
    recent_seconds: float = 0
    # Committed by this process since the look; and taken, but not yet committed.
    since: Load = NOTHING
    open: Load = NOTHING
    minute: Minute = field(default_factory=Minute)
    looked_at: float = -math.inf
    interval: float = MIN_INTERVAL
    is_slow: bool = False

    @property
    def is_known(self) -> bool:
        return self.looked_at > -math.inf

    def taken(self) -> Load:
        return self.since.plus(self.open)


class Room(NamedTuple):
    """What was taken for tasks that are about to be inserted."""

    usage: Usage | None
    wanted: Load

    def keep(self) -> None:
        """They are committed."""
        if self.usage is not None:
            with self.usage.lock:
                self.usage.open = self.usage.open.minus(self.wanted)
                self.usage.since = self.usage.since.plus(self.wanted)
                self.usage.minute.add(self.wanted.tasks)

    def give_back(self) -> None:
        """They are not, as far as anybody knows."""
        if self.usage is not None:
            with self.usage.lock:
                self.usage.open = self.usage.open.minus(self.wanted)


class Quotas:
    """One for each process. Takes room before a task is inserted, gives it back where the insert fails."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users: OrderedDict[UUID, Usage] = OrderedDict()

    @contextmanager
    def room(self, db: Session, user_id: UUID, wanted: Load) -> Iterator[None]:
        """Around the transaction that adds these tasks to the user's queue. All of them or none.

        Raises TooManyTasksQueued, TooManyBytesQueued, TooManySubmissions, each with the seconds to wait.
        """
        room = self.take(db, user_id, wanted)
        try:
            yield
        except BaseException:
            room.give_back()
            raise
        room.keep()

    def take(self, db: Session, user_id: UUID, wanted: Load) -> "Room":
        """The same for who settles several of them: each must be kept or given back. Raises as `room` does."""
        usage = self._usage(user_id)
        if usage is not None:
            self._take(db, user_id, usage, wanted)
        return Room(usage, wanted)

    def _usage(self, user_id: UUID) -> Usage | None:
        settings = get_settings()
        if not (settings.quota_queued_tasks or settings.quota_queued_bytes or settings.quota_tasks_per_minute):
            return None
        with self._lock:
            usage = self._users.setdefault(user_id, Usage())
            self._users.move_to_end(user_id)
            if len(self._users) > MAX_USERS:
                self._users.popitem(last=False)
            return usage

    def _take(self, db: Session, user_id: UUID, usage: Usage, wanted: Load) -> None:
        settings = get_settings()
        with usage.lock:
            refusal = _refusal(settings, usage, wanted)
            early = time.monotonic() - usage.looked_at < usage.interval
            if early or (refusal is None and not _used_its_share(settings, usage)):
                _occupy(usage, wanted, refusal)
                return
        if usage.is_slow and refusal is None:
            threading.Thread(target=self._look_aside, args=(user_id, usage), daemon=True).start()
        else:
            self._look_again(db, user_id, usage)
        with usage.lock:
            _occupy(usage, wanted, _refusal(settings, usage, wanted))

    def _look_again(self, db: Session, user_id: UUID, usage: Usage) -> None:
        """Unless it is too early, or somebody else is at it. Of a user who is not known yet everybody waits for it."""
        if not usage.look.acquire(blocking=not usage.is_known):
            return
        try:
            begun = time.monotonic()
            if begun - usage.looked_at < usage.interval:  # somebody else has looked meanwhile
                return
            with usage.lock:
                before = usage.since
            row = _look(db, user_id)
            with usage.lock:
                _note(usage, row, before, time.monotonic() - begun)
        finally:
            usage.look.release()

    def _look_aside(self, user_id: UUID, usage: Usage) -> None:
        try:
            with SessionLocal() as db:
                self._look_again(db, user_id, usage)
        except SQLAlchemyError as error:
            logger.warning("the quotas of a user were not looked at: %s", first_line(error))


def _occupy(usage: Usage, wanted: Load, refusal: QuotaExceeded | None) -> None:
    if refusal is not None:
        raise refusal
    usage.open = usage.open.plus(wanted)


def _look(db: Session, user_id: UUID) -> Row[Any]:
    """In a transaction of its own, unless there is one: none may be left idle behind it."""
    begun = not db.in_transaction()
    try:
        return db.execute(_LOOK, _parameters(user_id)).one()
    finally:
        if begun:
            db.rollback()


def _parameters(user_id: UUID) -> dict[str, Any]:
    """What is counted is counted up to where its quota is full."""
    settings = get_settings()
    by_bytes = _ALL if settings.quota_queued_bytes else 0
    return {
        "user_id": user_id,
        "queued": settings.quota_queued_tasks + 1 if settings.quota_queued_tasks else by_bytes,
        "rated": settings.quota_tasks_per_minute > 0,
        "window": WINDOW_SECONDS,
        "oldest": _id_before(WINDOW_SECONDS + _SLACK_SECONDS),
    }


def _note(usage: Usage, row: Sequence[Any], before: Load, took: float) -> None:
    """What was committed before the look is in its answer; what was committed since, or is still open, is not."""
    usage.queued, usage.recent, usage.recent_seconds = Load(row[0], row[1]), row[2], row[3]
    usage.since = usage.since.minus(before)
    usage.looked_at = time.monotonic()
    usage.interval, usage.is_slow = max(MIN_INTERVAL, took / LOOKS_SHARE), took > SLOW_LOOK


def _refusal(settings: Settings, usage: Usage, wanted: Load) -> QuotaExceeded | None:
    taken = usage.taken()
    rate, tasks, size = settings.quota_tasks_per_minute, settings.quota_queued_tasks, settings.quota_queued_bytes
    own = usage.minute.tasks() + usage.open.tasks if rate else 0
    if rate and max(usage.recent + taken.tasks, own) + wanted.tasks > rate:
        seconds = _window_seconds(usage, wanted, by_own=own + wanted.tasks > rate) if wanted.tasks <= rate else None
        return TooManySubmissions(f"{rate} tasks a minute", retry_after=seconds)
    if tasks and usage.queued.tasks + taken.tasks + wanted.tasks > tasks:
        seconds = _queue_seconds(usage) if wanted.tasks <= tasks else None
        return TooManyTasksQueued(f"{tasks} pending and running tasks", retry_after=seconds)
    if size and usage.queued.bytes + taken.bytes + wanted.bytes > size:
        seconds = _queue_seconds(usage) if wanted.bytes <= size else None
        return TooManyBytesQueued(f"{size} bytes of arguments of pending and running tasks", retry_after=seconds)
    return None


def _window_seconds(usage: Usage, wanted: Load, *, by_own: bool) -> int:
    """Until the oldest of the minute's tasks is no longer one of it; for several, until all of them are."""
    if by_own:
        return max(1, math.ceil(usage.minute.until_less() if wanted.tasks == 1 else WINDOW_SECONDS))
    known = usage.recent > 0 and wanted.tasks == 1
    seconds = usage.recent_seconds if known else float(WINDOW_SECONDS)
    passed = time.monotonic() - usage.looked_at
    return max(1, math.ceil(max(seconds, usage.interval) - passed))


def _queue_seconds(usage: Usage) -> int:
    """Nobody knows when a task ends; before the next look no room would be found."""
    return max(QUEUE_RETRY_SECONDS, math.ceil(usage.interval))


def _used_its_share(settings: Settings, usage: Usage) -> bool:
    """Whether a sixteenth of the room that the last look has found is taken, or there was none yet."""
    taken = usage.taken()
    rooms = (
        (settings.quota_queued_tasks, usage.queued.tasks, taken.tasks),
        (settings.quota_queued_bytes, usage.queued.bytes, taken.bytes),
        (settings.quota_tasks_per_minute, usage.recent, taken.tasks),
    )
    return not usage.is_known or any(
        quota and used * SHARE_OF_ROOM > max(0, quota - known) for quota, known, used in rooms
    )


def _id_before(seconds: float) -> UUID:
    """The smallest version 7 id of that time: it bounds an index scan, and decides nothing."""
    milliseconds = max(0, int((time.time() - seconds) * 1000))
    return UUID(int=milliseconds << 80)


quotas = Quotas()
