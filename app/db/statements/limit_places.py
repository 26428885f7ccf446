"""The places of limits and of users that are taken, and the conditions that name places."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Float, Row, and_, exists, func, literal, or_, select, true
from sqlalchemy.orm import Session

from app.db.statements.pending_rows import HAS_PLACE, is_held
from app.db.statements.tables import PLACES, TASKS
from app.db.statements.task_moves import HELD_BY_LIMIT
from app.ddl.clock import NOW, seconds
from app.ddl.terms import USER_LIMIT
from app.models.limit import Limit, Rate
from app.models.task import Held, TaskStatus
from app.models.worker import WorkerProcess

TAKEN = PLACES.c.ended_at.is_(None)
UNCLAIMED = PLACES.c.worker_id.is_(None)
# A claim is counted as the start, and a body begins so much later at most (`app/worker/child/taker.py`).
BEGIN_SECONDS = 0.1


class Usage(NamedTuple):
    """The places that are taken, and the starts that a rate counts: those of the last period, and those to come."""

    taken: int
    starts: int
    ahead: int = 0
    """Of the places: those whose tasks wait for a claim."""


def rates(limit: Limit) -> list[Rate]:
    return [rate for rate in (limit.rate, limit.rate_per_key) if rate is not None]


def period(*of: Rate) -> ColumnElement[Any]:
    """The longest period of these rates, in which starts count."""
    return seconds(literal(max(rate.period_seconds for rate in of) + BEGIN_SECONDS, Float))


def starts_within_period() -> ColumnElement[bool]:
    """As `starts` by the rate of each limit, whose row is joined."""
    counted = seconds(Limit.rate_period_seconds + literal(BEGIN_SECONDS, Float))
    return or_(TAKEN & PLACES.c.started_at.is_(None), PLACES.c.started_at > NOW - counted)


def starts(rate: Rate | None) -> ColumnElement[bool]:
    """The starts that a new one must be counted with. A place without a start may start at any moment."""
    waiting = TAKEN & PLACES.c.started_at.is_(None)
    if rate is None:
        return waiting
    return waiting | (PLACES.c.started_at > NOW - period(rate))


def running(db: Session, name: str, key: str | None = None) -> int:
    """How many bodies run under this limit, or under this key of it."""
    of_key = [] if key is None else [PLACES.c.limit_key == key]
    count = select(func.count()).where(of_limit(name), TAKEN, ~UNCLAIMED, *of_key)
    return int(db.execute(count).scalar_one())


def running_by_limit(db: Session) -> dict[str, int]:
    """The same of each limit under which any runs."""
    counts = select(PLACES.c.limit_name, func.count()).where(TAKEN, ~UNCLAIMED).group_by(PLACES.c.limit_name)
    return {row[0]: row[1] for row in db.execute(counts)}


def is_used(db: Session, name: str) -> bool:
    """Whether a pending or running task names the limit, or a body runs that has a place of it. The limit is locked."""
    states = (TaskStatus.PENDING.value, TaskStatus.RUNNING.value)
    tasks = [exists().where(TASKS.c.limit == name, TASKS.c.status == state) for state in states]
    bodies = exists().where(of_limit(name), TAKEN, ~UNCLAIMED)
    return any(bool(db.scalar(select(used))) for used in (*tasks, bodies))


def claimed_by(db: Session, worker_id: UUID) -> Sequence[Row[UUID, int, int | None]]:
    """Task, attempt and process of each place that this worker has."""
    columns = (PLACES.c.task_id, PLACES.c.attempt, PLACES.c.worker_pid)
    return db.execute(select(*columns).where(PLACES.c.worker_id == worker_id, TAKEN)).all()


def of_limit(name: str, keys: Collection[str] | None = None) -> ColumnElement[bool]:
    """Return the condition of the places of this limit, or of these keys of it."""
    of_keys = [] if keys is None else [PLACES.c.limit_key.in_(keys)]
    return and_(PLACES.c.limit_name == name, *of_keys)


def has_place_of(name: str) -> ColumnElement[bool]:
    """Return whether the task has a place of this limit for its next attempt."""
    attempt = (PLACES.c.task_id == TASKS.c.id, PLACES.c.attempt == TASKS.c.attempt + 1)
    return exists().where(*attempt, of_limit(name), TAKEN)


def of_task(task_id: UUID) -> ColumnElement[bool]:
    return PLACES.c.task_id == task_id


def of_worker(worker_id: UUID, pid: int | None = None, *which: ColumnElement[bool]) -> ColumnElement[bool]:
    """The places of what this worker, or this process of it, has claimed."""
    of_process = true() if pid is None else PLACES.c.worker_pid == pid
    return and_(PLACES.c.worker_id == worker_id, of_process, *which)


def of_lost_workers(silent_for: timedelta | None) -> ColumnElement[bool]:
    """The places of workers that have stopped; with `silent_for` also of those without a heartbeat for that time."""
    worker = WorkerProcess
    same = worker.id == PLACES.c.worker_id
    stopped = exists().where(same, worker.stopped_at.is_not(None))
    if silent_for is None:
        return stopped
    # A claim is a sign of life, as in `app/maintenance/passes/task_states.py`.
    alive = exists().where(same, worker.stopped_at.is_(None), worker.heartbeat_at >= NOW - silent_for)
    return stopped | (~UNCLAIMED & ~alive & (PLACES.c.started_at < NOW - silent_for))


# -- How the places of limits and those of users differ: all else is the same statement for both -----------------------


@dataclass(frozen=True, eq=False)
class PlaceKind:
    """What the row of a pending task says that needs such a place."""

    needs: ColumnElement[bool]
    """It needs the place that it is compared with."""
    key: str
    """The column whose value, as text, is the key of the place."""
    held: Held
    """It waits for such a place."""
    held_by_key: Held
    """It waits for the place of its key alone."""
    has_place: ColumnElement[bool]
    """It waits for no such place."""
    held_then: ColumnElement[str] | None
    """What it waits for once it has the place."""


_OF_LIMITS = PlaceKind(TASKS.c.limit == PLACES.c.limit_name, "limit_key", Held.LIMIT, Held.LIMIT_KEY, HAS_PLACE, None)
_OF_USERS = PlaceKind(
    TASKS.c.user_limited.is_(True),
    "user_id",
    Held.USER,
    Held.USER,
    or_(HAS_PLACE, is_held(Held.LIMIT), is_held(Held.LIMIT_KEY)),
    HELD_BY_LIMIT,
)


def kind_of(name: str) -> PlaceKind:
    """Return the kind of the places that stand under this name."""
    return _OF_USERS if name == USER_LIMIT else _OF_LIMITS
