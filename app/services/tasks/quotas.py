"""The quotas of a user: queued tasks, bytes of their arguments, tasks a minute, bytes of all that is kept.

There is no statement for each task and no row that all tasks update. Each process remembers the last count from the
database for a user and adds the tasks that it has accepted since. It counts again when these have used a sixteenth of
the remaining quota, so that several processes together exceed a quota by little (docs/adr/0038). Within one process a
quota is exact. What tasks write while they run is known only to the database: its sum of ended tasks is read again
after STORED_SECONDS (docs/adr/0038).

What a task takes of them is its `Load`: its number, the bytes of its arguments, and all bytes that its row keeps.
"""

import logging
import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, NamedTuple, Self
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app import errors
from app.core.config import Settings, get_settings
from app.core.ids import first_id_at
from app.core.json_text import json_size
from app.core.task_bodies import start_for_service
from app.db.outage import first_line
from app.db.session import SessionLocal
from app.db.statements import submissions as statements
from app.db.statements.submissions import QuotaUse
from app.ddl.terms import ROW_BYTES
from app.errors import Text
from app.models.task import Task

logger = logging.getLogger(__name__)

# Of each parent: its id in `tasks.depends_on`, and the row of `task_dependencies` with its entries in two indexes.
EDGE_BYTES = 200


class Load(NamedTuple):
    """A number of tasks, the bytes of their arguments, and all bytes that their rows keep."""

    tasks: int
    bytes: int
    stored: int = 0

    def __add__(self, other: "Load") -> "Load":  # type: ignore[override]  # no use to append tuples
        return Load(self.tasks + other.tasks, self.bytes + other.bytes, self.stored + other.stored)

    def __sub__(self, other: "Load") -> "Load":
        return Load(self.tasks - other.tasks, self.bytes - other.bytes, self.stored - other.stored)


NO_LOAD = Load(0, 0)


def load_of(task: Task) -> Load:
    """Return the load of a task. One that is retried keeps its row, and counts as a new one."""
    arguments = json_size(task.args) + json_size(task.kwargs)
    return load_of_row(arguments, attached_bytes_of(task))


def attached_bytes_of(task: Task) -> int:
    """Return what `attached_bytes` is of the fields of this task."""
    return attached_bytes(task.name, task.tags, task.metadata_, len(task.depends_on or ()))


def load_of_row(arguments: int, attached: int) -> Load:
    """Return the load of a new row, of so many bytes of arguments and `attached_bytes`."""
    return Load(1, arguments, ROW_BYTES + arguments + attached)


def sum_of_loads(loads: Iterable[Load]) -> Load:
    """Return all loads together."""
    return sum(loads, NO_LOAD)


def load_growth(before: Load, after: Load) -> Load:
    """Return what a change of a task adds: bytes, and no task. Never less than nothing."""
    more = after - before
    return Load(0, max(more.bytes, 0), max(more.stored, 0))


def attached_bytes(name: str, tags: Sequence[str], metadata: Mapping[str, Any], parents: int = 0) -> int:
    """Return the bytes of these fields, which `tasks.attached_bytes` holds for a new task; `parents`: how many."""
    fields = len(name.encode()) + sum(len(tag.encode()) for tag in tags) + parents * EDGE_BYTES
    return fields + json_size(metadata) if metadata else fields


# -- The tasks that one user sent to this process in the last minute ---------------------------------------------------

WINDOW_SECONDS = 60


class SubmissionWindow:
    """The tasks that this process accepted in the last minute, counted by the second.

    The rows do not show all: a retried task counts again, and a deleted task still counts.
    """

    def __init__(self) -> None:
        self._seconds: deque[list[int]] = deque()  # [second of the monotonic clock, tasks]
        self._total = 0

    def add(self, tasks: int) -> None:
        """Count tasks that were accepted now."""
        second = int(time.monotonic())
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append([second, 0])
        self._seconds[-1][1] += tasks
        self._total += tasks

    def tasks(self) -> int:
        """Return how many tasks were accepted in the last minute."""
        while self._seconds and self._seconds[0][0] <= time.monotonic() - WINDOW_SECONDS - 1:
            self._total -= self._seconds.popleft()[1]
        return self._total

    def seconds_until_drop(self) -> float:
        """Return the seconds until the oldest of them leave the window."""
        return self._seconds[0][0] + WINDOW_SECONDS + 1 - time.monotonic() if self._seconds else 0


# -- The quotas: what a process knows of the use of each user, and what it reserves ------------------------------------

# The query may take at most this share of the time: one of 100 ms is repeated after two seconds at the earliest. A
# query slower than SLOW_QUERY_SECONDS (some ten thousand rows) is repeated in the background.
MIN_INTERVAL_SECONDS, QUERY_TIME_SHARE, SLOW_QUERY_SECONDS = 1.0, 0.05, 0.05
REFRESH_SHARE = 16
# Fixed Retry-After: the drain time is unknown.
QUEUE_RETRY_SECONDS = 5
MAX_USERS = 10_000
# Results of a gigabyte a second, more than a database writes, exceed a quota by 10 GB until it is noticed.
STORED_SECONDS = 10.0
# Maintenance deletes by RETENTION_BYTES every few seconds, but nothing that has just ended.
STORED_RETRY_SECONDS = 60

# Allows for processes whose clocks made older ids.
_SLACK_SECONDS = 60
_NO_LIMIT = 2**62


@dataclass
class Usage:
    """The known usage of one user."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    query_lock: threading.Lock = field(default_factory=threading.Lock)
    queued: Load = NO_LOAD
    # Bytes of the ended tasks, and when they were read.
    ended: int = 0
    ended_at: float = -math.inf
    recent: int = 0
    # Seconds from the query until the oldest task of the last minute leaves the window.
    recent_seconds: float = 0
    # Tasks that this process committed since the query, and tasks that are reserved but not committed.
    committed: Load = NO_LOAD
    reserved: Load = NO_LOAD
    window: SubmissionWindow = field(default_factory=SubmissionWindow)
    queried_at: float = -math.inf
    interval: float = MIN_INTERVAL_SECONDS
    is_slow: bool = False

    @property
    def is_known(self) -> bool:
        """Whether the database has been queried for this user."""
        return self.queried_at > -math.inf

    def added(self) -> Load:
        """Return the load that this process has added since the query."""
        return self.committed + self.reserved


class Reservation(NamedTuple):
    """Quota that is reserved for tasks about to be inserted: the context of their transaction, or ended with `end`."""

    usage: Usage | None
    wanted: Load

    def joined(self, more: "Reservation") -> Iterator["Reservation"]:
        """Yield one reservation in the place of both, or both where they are of different usages."""
        if self.usage is more.usage:
            yield Reservation(self.usage, self.wanted + more.wanted)
        else:
            yield from (self, more)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self.end(committed=error is None)

    def end(self, *, committed: bool) -> None:
        """Count the tasks as committed, or return the quota: they are not, as far as is known."""
        if self.usage is not None:
            with self.usage.lock:
                self.usage.reserved = self.usage.reserved - self.wanted
                if committed:
                    self.usage.committed = self.usage.committed + self.wanted
                    self.usage.window.add(self.wanted.tasks)


class Quotas:
    """Reserves quota before tasks are inserted, and releases it if the insert fails. One for each process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users: OrderedDict[UUID, Usage] = OrderedDict()

    def reserve(self, db: Session, user_id: UUID, wanted: Load) -> Reservation:
        """Return a reservation of quota for all tasks or none: `with quotas.reserve(…)` around their transaction.

        Raises TooManyTasksQueued, TooManyBytesQueued, TooManySubmissions, each with the seconds to wait, and
        TooManyBytesStored.
        """
        settings = get_settings()
        if not _limits_anything(settings):
            return Reservation(None, wanted)
        usage = self._usage(user_id)
        look = _reserve_known(settings, usage, wanted)
        if look is not None:
            self._look(db, usage, _parameters(settings, user_id), look)
            with usage.lock:
                _reserve(usage, wanted, _refusal(settings, usage, wanted))
        return Reservation(usage, wanted)

    def reserve_known(self, user_id: UUID, wanted: Load) -> Reservation | None:
        """Return a reservation by what is known of the usage; None where `reserve` has to ask the database or refuses.

        It waits for nothing: an event loop may call it.
        """
        settings = get_settings()
        if not _limits_anything(settings):
            return Reservation(None, wanted)
        usage = self._usage(user_id)
        try:
            return Reservation(usage, wanted) if _reserve_known(settings, usage, wanted) is None else None
        except errors.QuotaExceeded:
            return None

    def keeps_too_much(self, db: Session, user_id: UUID) -> bool:
        """Return whether the user keeps more than QUOTA_STORED_BYTES, as it was known at most STORED_SECONDS ago."""
        settings = get_settings()
        if not settings.quota_stored_bytes:
            return False
        usage, parameters = self._usage(user_id), _parameters(settings, user_id)
        is_old = time.monotonic() - usage.queried_at >= STORED_SECONDS
        if is_old or _kept(usage) > settings.quota_stored_bytes:  # what was queued may have been deleted
            self._refresh(db, usage, parameters)
        with usage.lock:
            return _kept(usage) > settings.quota_stored_bytes

    def _usage(self, user_id: UUID) -> Usage:
        with self._lock:
            usage = self._users.setdefault(user_id, Usage())
            self._users.move_to_end(user_id)
            if len(self._users) > MAX_USERS:
                self._users.popitem(last=False)
            return usage

    def _look(self, db: Session, usage: Usage, parameters: dict[str, Any], look: "_Look") -> None:
        if look is _Look.SUM:
            self._refresh_sum(db, usage, parameters)
        elif look is _Look.LATER:
            refresh, given = self._refresh_in_background, (usage, parameters)
            start_for_service(threading.Thread(target=refresh, args=given, name="quota-usage", daemon=True))
        else:
            self._refresh(db, usage, parameters)

    def _refresh(self, db: Session, usage: Usage, parameters: dict[str, Any]) -> None:
        """Query the usage, unless it is too early or another thread does so.

        An unknown user's threads wait for the first query.
        """
        if not usage.query_lock.acquire(blocking=not usage.is_known):
            return
        try:
            begun = time.monotonic()
            if begun - usage.queried_at < usage.interval:  # another thread has queried it
                return
            with usage.lock:
                before = usage.committed
            row = _query_usage(db, parameters)
            with usage.lock:
                _store(usage, row, before, time.monotonic() - begun)
        finally:
            usage.query_lock.release()

    def _refresh_sum(self, db: Session, usage: Usage, parameters: dict[str, Any]) -> None:
        """Read the sum over the ended tasks alone. Those that ended since the query count twice until the next one."""
        with usage.lock:
            usage.ended_at = time.monotonic()  # other threads need not
        row = _query_usage(db, {**parameters, "queued": 0, "rated": False})
        with usage.lock:
            usage.ended = row.ended

    def _refresh_in_background(self, usage: Usage, parameters: dict[str, Any]) -> None:
        try:
            with SessionLocal() as db:
                self._refresh(db, usage, parameters)
        except SQLAlchemyError as error:
            logger.warning("cannot refresh the quotas of a user: %s", first_line(error))


def _is_early(usage: Usage) -> bool:
    """Return whether it is too early for the next query."""
    return time.monotonic() - usage.queried_at < usage.interval


class _Look(Enum):
    """What to ask the database before quota is reserved: all, all in the background, or the sum of the ended tasks."""

    ALL = auto()
    LATER = auto()
    SUM = auto()


def _reserve_known(settings: Settings, usage: Usage, wanted: Load) -> _Look | None:
    """Reserve quota by what is known, and return None; or return what to ask before. Raises QuotaExceeded."""
    with usage.lock:
        refusal = _refusal(settings, usage, wanted)
        if not _is_early(usage) and (refusal is not None or _needs_refresh(settings, usage)):
            return _Look.LATER if usage.is_slow and refusal is None else _Look.ALL
        if _needs_sum(settings, usage):
            return _Look.SUM
        _reserve(usage, wanted, refusal)
        return None


def _reserve(usage: Usage, wanted: Load, refusal: errors.QuotaExceeded | None) -> None:
    if refusal is not None:
        raise refusal
    usage.reserved = usage.reserved + wanted


def _query_usage(db: Session, parameters: dict[str, Any]) -> QuotaUse:
    """Run the query. Opens and closes its own transaction if there is none, so that no transaction stays idle."""
    begun = not db.in_transaction()
    try:
        return statements.read_quota_use(db, **parameters)
    finally:
        if begun:
            db.rollback()


def _parameters(settings: Settings, user_id: UUID) -> dict[str, Any]:
    """Return the parameters of the query. Each count stops where its quota is full."""
    by_bytes = _NO_LIMIT if settings.quota_queued_bytes or settings.quota_stored_bytes else 0
    return {
        "user_id": user_id,
        "queued": settings.quota_queued_tasks + 1 if settings.quota_queued_tasks else by_bytes,
        "rated": settings.quota_tasks_per_minute > 0,
        "window": WINDOW_SECONDS,
        "oldest": first_id_at(time.time() - WINDOW_SECONDS - _SLACK_SECONDS),
    }


def _store(usage: Usage, row: QuotaUse, before: Load, query_seconds: float) -> None:
    """Store the result.

    It includes what was committed before the query, but not what was committed or reserved since.
    """
    usage.queued, usage.ended = Load(row.tasks, row.bytes, row.stored), row.ended
    usage.recent, usage.recent_seconds = row.recent, row.recent_seconds
    usage.committed = usage.committed - before
    usage.queried_at = usage.ended_at = time.monotonic()
    usage.interval = max(MIN_INTERVAL_SECONDS, query_seconds / QUERY_TIME_SHARE)
    usage.is_slow = query_seconds > SLOW_QUERY_SECONDS


def _refusal(settings: Settings, usage: Usage, wanted: Load) -> errors.QuotaExceeded | None:
    added = usage.added()
    rate, tasks, size = settings.quota_tasks_per_minute, settings.quota_queued_tasks, settings.quota_queued_bytes
    in_window = usage.window.tasks() + usage.reserved.tasks if rate else 0
    if rate and max(usage.recent + added.tasks, in_window) + wanted.tasks > rate:
        seconds = (
            _window_seconds(usage, wanted, by_window=in_window + wanted.tasks > rate) if wanted.tasks <= rate else None
        )
        return errors.TooManySubmissions(Text("{} tasks a minute", rate), retry_after=seconds)
    if tasks and wanted.tasks and usage.queued.tasks + added.tasks + wanted.tasks > tasks:
        seconds = _queue_seconds(usage) if wanted.tasks <= tasks else None
        return errors.TooManyTasksQueued(Text("{} pending and running tasks", tasks), retry_after=seconds)
    if size and wanted.bytes and usage.queued.bytes + added.bytes + wanted.bytes > size:
        seconds = _queue_seconds(usage) if wanted.bytes <= size else None
        return errors.TooManyBytesQueued(
            Text("{} bytes of arguments of pending and running tasks", size), retry_after=seconds
        )
    kept = _kept(usage)
    if settings.quota_stored_bytes and kept + wanted.stored > settings.quota_stored_bytes:
        return _too_much_stored(settings, usage, kept)
    return None


def _kept(usage: Usage) -> int:
    return usage.ended + usage.queued.stored + usage.added().stored


def _too_much_stored(settings: Settings, usage: Usage, kept: int) -> errors.TooManyBytesStored:
    """Say what is kept, and what the user can do. Only RETENTION_BYTES makes room soon without them."""
    frees_itself = 0 < settings.retention_bytes < usage.ended
    return errors.TooManyBytesStored(
        Text(
            "{} of {} bytes are kept; deleting all tasks that have ended and all files frees {}",
            kept,
            settings.quota_stored_bytes,
            usage.ended,
        ),
        retry_after=STORED_RETRY_SECONDS if frees_itself else None,
    )


def _window_seconds(usage: Usage, wanted: Load, *, by_window: bool) -> int:
    """Return the seconds until one task leaves the window; for several tasks, until all of them do."""
    if by_window:
        return max(1, math.ceil(usage.window.seconds_until_drop() if wanted.tasks == 1 else WINDOW_SECONDS))
    known = usage.recent > 0 and wanted.tasks == 1
    seconds = usage.recent_seconds if known else float(WINDOW_SECONDS)
    passed = time.monotonic() - usage.queried_at
    return max(1, math.ceil(max(seconds, usage.interval) - passed))


def _queue_seconds(usage: Usage) -> int:
    """Return the seconds to wait for a full queue.

    Its drain time is unknown, and it counts as full until the next query.
    """
    return max(QUEUE_RETRY_SECONDS, math.ceil(usage.interval))


def _needs_refresh(settings: Settings, usage: Usage) -> bool:
    """Return whether a sixteenth of the quota that remained at the last query is used, or there was no query yet."""
    added = usage.added()
    quota_usage = (
        (settings.quota_queued_tasks, usage.queued.tasks, added.tasks),
        (settings.quota_queued_bytes, usage.queued.bytes, added.bytes),
        (settings.quota_tasks_per_minute, usage.recent, added.tasks),
        (settings.quota_stored_bytes, usage.ended + usage.queued.stored, added.stored),
    )
    return not usage.is_known or any(
        quota and used * REFRESH_SHARE > max(0, quota - known) for quota, known, used in quota_usage
    )


def _needs_sum(settings: Settings, usage: Usage) -> bool:
    return settings.quota_stored_bytes > 0 and time.monotonic() - usage.ended_at >= STORED_SECONDS


def _limits_anything(settings: Settings) -> bool:
    return bool(
        settings.quota_queued_tasks
        or settings.quota_queued_bytes
        or settings.quota_tasks_per_minute
        or settings.quota_stored_bytes
    )


quotas = Quotas()
