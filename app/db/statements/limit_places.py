"""The places of limits that are taken, and the conditions that name places."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Float, Row, and_, exists, func, literal, or_, select, true
from sqlalchemy.orm import Session

from app.db.statements.tables import PLACES, TASKS
from app.ddl.clock import NOW, seconds
from app.models.limit import Limit, Rate
from app.models.task import TaskStatus
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
