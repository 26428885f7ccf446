"""The places of limits and of users that are taken, and the conditions that name places."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Float, Row, and_, case, exists, func, literal, or_, select, true
from sqlalchemy.orm import Session

from app.db.statements.pending_rows import PENDING, is_held
from app.db.statements.tables import PLACES, TASKS
from app.ddl.clock import NOW, STATEMENT_TIME, seconds
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


def of_limit(name: str) -> ColumnElement[bool]:
    """The places of this limit."""
    return PLACES.c.limit_name == name


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


# -- Places of users, and the rows that wait for them ------------------------------------------------------------------

OF_USERS = of_limit(USER_LIMIT)
# Has its user's place and may wait for that of a limit.
HAS_USER_PLACE = or_(TASKS.c.held.is_(None), is_held(Held.LIMIT), is_held(Held.LIMIT_KEY))

# Tasks that get their turns now and were made without the quota, and what has them wait for a place.
DUE_WITHOUT_QUOTA = (TASKS.c.turn.is_(None), TASKS.c.due_at <= STATEMENT_TIME, TASKS.c.user_limited.is_not(True))
HELD_FOR_USER = {"user_limited": True, "held": case((is_held(Held.NAME), Held.NAME.value), else_=Held.USER.value)}


def user_places_are_used() -> ColumnElement[bool]:
    """The condition that any user has a place, or a task that waits for one."""
    return or_(exists().where(OF_USERS, TAKEN), exists().where(PENDING, is_held(Held.USER), TASKS.c.turn.is_not(None)))


class HeldRowOfUser(NamedTuple):
    """A row that waits for a place of its user; `place` is that of its line, from 1."""

    id: UUID
    user: str
    queue: str
    celery_task_name: str
    place: int
