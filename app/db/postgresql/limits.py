"""Limits, and the places that are taken: how many there are, who takes one, and when it is free.

Who gives or takes places locks the limit's row first (`lock`). So one admission of a limit runs at a time, and what it
counts stays true until its commit: places that others end meanwhile only make more room.
"""

from collections.abc import Collection, Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    CTE,
    ColumnElement,
    Float,
    Insert,
    Integer,
    Row,
    Text,
    Uuid,
    cast,
    column,
    delete,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.orm import Session

from app.db.base import Base
from app.db.clock import NOW, seconds
from app.db.postgresql.conditions import is_one_of
from app.db.postgresql.turns import clock_of
from app.models.limit import Limit, LimitPlace, Rate
from app.models.task import Task, TaskStatus
from app.models.worker import WorkerProcess

_TASKS = Base.metadata.tables[Task.__tablename__]
_PLACES = Base.metadata.tables[LimitPlace.__tablename__]
_PENDING = _TASKS.c.status == TaskStatus.PENDING.value
TAKEN = _PLACES.c.ended_at.is_(None)
UNCLAIMED = _PLACES.c.worker_id.is_(None)
# A claim is counted as the start, and a body begins so much later at most (`app/worker/child/taker.py`).
BEGIN_SECONDS = 0.1


class Usage(NamedTuple):
    """The places that are taken, and the starts that a rate counts: those of the last period, and those to come."""

    taken: int
    starts: int
    ahead: int = 0
    """Of the places: those whose tasks wait for a claim."""


def lock(db: Session, name: str, *, alone: bool = False) -> Limit | None:
    """The limit, locked until the commit against other admissions; with `alone` also against submits that name it."""
    found = select(Limit).where(Limit.name == name).with_for_update(key_share=not alone)
    return db.scalars(found.execution_options(populate_existing=True)).one_or_none()


def keep(db: Session, names: Collection[str]) -> dict[str, Limit]:
    """Those of the limits that there are, by name. None of them is deleted until the commit."""
    found = select(Limit).where(Limit.name.in_(sorted(names))).order_by(Limit.name)
    return {limit.name: limit for limit in db.scalars(found.with_for_update(read=True, key_share=True))}


def _starts(rate: Rate | None) -> ColumnElement[bool]:
    """The starts that a new one must be counted with. A place without a start may start at any moment."""
    waiting = TAKEN & _PLACES.c.started_at.is_(None)
    if rate is None:
        return waiting
    period: ColumnElement[Any] = literal(rate.period_seconds + BEGIN_SECONDS, Float)
    return waiting | (_PLACES.c.started_at > NOW - seconds(period))


def usage(db: Session, limit: Limit) -> Usage:
    """Of the whole limit."""
    ahead = func.count().filter(TAKEN & UNCLAIMED)
    counts = select(func.count().filter(TAKEN), func.count().filter(_starts(limit.rate)), ahead)
    return Usage(*db.execute(counts.where(_PLACES.c.limit_name == limit.name)).one())


def usage_of_keys(db: Session, limit: Limit, keys: Collection[str]) -> dict[str, Usage]:
    """Of each of these keys that has places."""
    counts = select(_PLACES.c.limit_key, func.count().filter(TAKEN), func.count().filter(_starts(limit.rate_per_key)))
    of_keys = counts.where(_PLACES.c.limit_name == limit.name, is_one_of(_PLACES.c.limit_key, "p_keys"))
    found = db.execute(of_keys.group_by(_PLACES.c.limit_key), {"p_keys": list(keys)})
    return {key: Usage(taken, starts) for key, taken, starts in found}


def running(db: Session, name: str, key: str | None = None) -> int:
    """How many bodies run under this limit, or under this key of it."""
    of_key = [] if key is None else [_PLACES.c.limit_key == key]
    count = select(func.count()).where(of_limit(name), TAKEN, ~UNCLAIMED, *of_key)
    return int(db.execute(count).scalar_one())


def admission(
    held: ColumnElement[str] | None, name: str | None, key: str, *which: ColumnElement[bool]
) -> tuple[CTE, Insert]:
    """The rows `p_ids` that get places of this limit, by default of the one that each names, and the INSERT of these.

    `held`: what they wait for then. `key`: the column whose value is the place's key, as text.
    """
    # At the line's clock at least: a claim looks below it only now and then.
    values = {"held": held, "turn": func.greatest(_TASKS.c.turn, clock_of(_TASKS))}
    returned = [_TASKS.c[column] for column in ("id", "attempt", "user_id", "queue", "limit", "limit_key")]
    rows = update(_TASKS).where(is_one_of(_TASKS.c.id, "p_ids"), _PENDING, *which).values(values)
    admitted = rows.returning(*returned).cte("admitted")
    of = admitted.c.limit if name is None else literal(name)
    place = insert(_PLACES).from_select(
        ["task_id", "attempt", "limit_name", "limit_key"],
        select(admitted.c.id, admitted.c.attempt + 1, of, cast(admitted.c[key], Text)),
    )
    # A place that it had been given and lost, by a change of the task, and that was not taken away yet.
    again = {"limit_key": place.excluded.limit_key, "admitted_at": NOW}
    return admitted, place.on_conflict_do_update(index_elements=list(_PLACES.primary_key), set_=again)


@lru_cache(maxsize=1)
def _admit_statement() -> Insert:
    _, place = admission(None, None, "limit_key")
    return place


def running_by_limit(db: Session) -> dict[str, int]:
    """The same of each limit under which any runs."""
    counts = select(_PLACES.c.limit_name, func.count()).where(TAKEN, ~UNCLAIMED).group_by(_PLACES.c.limit_name)
    return {row[0]: row[1] for row in db.execute(counts)}


def admit(db: Session, ids: Sequence[UUID]) -> None:
    """Give each of these held rows a place: a claim may take them."""
    db.execute(_admit_statement(), {"p_ids": list(ids)})


def release(db: Session, *which: ColumnElement[bool]) -> list[tuple[str, str | None]]:
    """Free the places that match and are taken: limit and key of each. Starts that a rate counts stay on record."""
    counts = exists().where(
        Limit.name == _PLACES.c.limit_name, or_(Limit.rate_count.is_not(None), Limit.rate_per_key_count.is_not(None))
    )
    of = (_PLACES.c.limit_name, _PLACES.c.limit_key)
    begun = _PLACES.c.started_at.is_not(None)
    gone = delete(_PLACES).where(*which, TAKEN, ~(begun & counts)).returning(*of)
    kept = update(_PLACES).where(*which, TAKEN, begun, counts).values(ended_at=NOW).returning(*of)
    return [(name, key) for statement in (gone, kept) for name, key in db.execute(statement)]


def of_limit(name: str) -> ColumnElement[bool]:
    """The places of this limit."""
    return _PLACES.c.limit_name == name


def of_attempts(attempts: Sequence[tuple[UUID, int]]) -> ColumnElement[bool]:
    """The places of these attempts."""
    # Two arrays and not a condition for each: one statement, and one plan, for any number of attempts.
    ids = literal([task_id for task_id, _ in attempts], ARRAY(_PLACES.c.task_id.type))
    numbers = literal([attempt for _, attempt in attempts], ARRAY(Integer))
    wanted = func.unnest(ids, numbers).table_valued(column("task_id", Uuid), column("attempt", Integer), name="of")
    of = wanted.render_derived()
    return tuple_(_PLACES.c.task_id, _PLACES.c.attempt).in_(select(of.c.task_id, of.c.attempt))


def of_worker(worker_id: UUID, pid: int | None = None, *which: ColumnElement[bool]) -> ColumnElement[bool]:
    """The places of what this worker, or this process of it, has claimed."""
    of_process = true() if pid is None else _PLACES.c.worker_pid == pid
    condition: ColumnElement[bool] = (_PLACES.c.worker_id == worker_id) & of_process
    for also in which:
        condition = condition & also
    return condition


def of_task(task_id: UUID) -> ColumnElement[bool]:
    return _PLACES.c.task_id == task_id


def claimed_by(db: Session, worker_id: UUID) -> Sequence[Row[UUID, int, int | None]]:
    """Task, attempt and process of each place that this worker has."""
    columns = (_PLACES.c.task_id, _PLACES.c.attempt, _PLACES.c.worker_pid)
    return db.execute(select(*columns).where(_PLACES.c.worker_id == worker_id, TAKEN)).all()


def of_lost_workers(silent_for: timedelta | None) -> ColumnElement[bool]:
    """The places of workers that have stopped; with `silent_for` also of those without a heartbeat for that time."""
    worker = WorkerProcess
    same = worker.id == _PLACES.c.worker_id
    stopped = exists().where(same, worker.stopped_at.is_not(None))
    if silent_for is None:
        return stopped
    # A claim is a sign of life, as in `maintenance.attempts_of_lost_workers`.
    alive = exists().where(same, worker.stopped_at.is_(None), worker.heartbeat_at >= NOW - silent_for)
    return stopped | (~UNCLAIMED & ~alive & (_PLACES.c.started_at < NOW - silent_for))


def without_use(name: str) -> ColumnElement[bool]:
    """The places of this limit that no claim will take: the task was ended, deleted or changed while it waited.

    Only true while the limit is locked.
    """
    waits = select(_TASKS.c.id).where(
        _TASKS.c.id == _PLACES.c.task_id,
        _PENDING,
        _TASKS.c.held.is_(None),
        _TASKS.c.turn.is_not(None),
        _TASKS.c.limit == _PLACES.c.limit_name,
        _TASKS.c.attempt + 1 == _PLACES.c.attempt,
    )
    # With a limit, which the planner cannot turn into a join that reads all tasks.
    row = waits.limit(literal_column("1", Integer)).correlate(_PLACES).scalar_subquery()
    return (_PLACES.c.limit_name == name) & UNCLAIMED & row.is_(None)


def forget_starts(db: Session, limit: Limit) -> None:
    """Delete the starts that no rate of this limit counts any more."""
    periods = [rate.period_seconds for rate in (limit.rate, limit.rate_per_key) if rate is not None]
    ended = (_PLACES.c.limit_name == limit.name, _PLACES.c.ended_at.is_not(None))
    if periods:
        period: ColumnElement[Any] = literal(max(periods) + BEGIN_SECONDS, Float)
        ended = (*ended, _PLACES.c.started_at <= NOW - seconds(period))  # type: ignore[assignment]
    db.execute(delete(_PLACES).where(*ended))


def seconds_until_start(db: Session, limit: Limit) -> float | None:
    """In how many seconds the oldest start that counts leaves the period of a rate; None if there is none."""
    periods = [rate.period_seconds for rate in (limit.rate, limit.rate_per_key) if rate is not None]
    if not periods:
        return None
    waits: list[Any] = []
    for period in periods:
        window: ColumnElement[Any] = seconds(literal(period + BEGIN_SECONDS, Float))
        oldest = select(func.extract("epoch", func.min(_PLACES.c.started_at) + window - NOW)).where(
            _PLACES.c.limit_name == limit.name, _PLACES.c.started_at > NOW - window
        )
        waits.append(db.execute(oldest).scalar_one())
    return min((float(wait) for wait in waits if wait is not None), default=None)


def is_used(db: Session, name: str) -> bool:
    """Whether a pending or running task names the limit, or a body runs that has a place of it. The limit is locked."""
    pending = exists().where(_TASKS.c.limit == name, _PENDING)
    running_ones = exists().where(_TASKS.c.limit == name, _TASKS.c.status == TaskStatus.RUNNING.value)
    bodies = exists().where(_PLACES.c.limit_name == name, TAKEN, ~UNCLAIMED)
    return any(bool(db.scalar(select(used))) for used in (pending, running_ones, bodies))


def forget_places(db: Session, name: str) -> None:
    """Delete all that is on record of a limit."""
    db.execute(delete(_PLACES).where(_PLACES.c.limit_name == name))


def insert_missing(db: Session, name: str) -> None:
    """Make the row of a limit, unless there is one; its bounds are set by the same transaction."""
    db.execute(insert(Limit).values(name=name, concurrency=1).on_conflict_do_nothing())
