"""Limits, and the places that are taken: how many there are, who takes one, and when it is free.

Whoever gives or takes places locks the limit's row first (`lock_limit`). So one admission of a limit runs at a time,
and what it counts stays true until its commit: places that others end meanwhile only make more room.

Rows are locked in this order: limits, tasks, places. With a limit locked, tasks that others have locked are skipped.
"""

import operator
from collections.abc import Collection, Iterator, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, case, delete, func, or_, select, tuple_, update
from sqlalchemy.orm import Session

from app.db.statements.expressions import greatest, seconds_between
from app.db.statements.limit_places import (
    BEGIN_SECONDS,
    TAKEN,
    UNCLAIMED,
    Usage,
    kind_of,
    of_limit,
    period,
    rates,
    starts,
)
from app.db.statements.pending_rows import PENDING, change_tasks, clock_of, lock_tasks
from app.db.statements.tables import PLACES, TASKS
from app.db.statements.writes import upsert
from app.db.transactions import Transaction
from app.ddl.clock import NOW
from app.ddl.columns import Base
from app.ddl.terms import USER_LIMIT
from app.models.limit import Limit, OnExcess

_LIMITS = Base.metadata.tables[Limit.__tablename__]
_LETS_WAIT = _LIMITS.c.on_excess == OnExcess.WAIT.value
_KEY = (PLACES.c.task_id, PLACES.c.attempt, PLACES.c.limit_name)
# Of few rows MySQL would read all, and wait for those that others have locked.
_BY_KEY = "FORCE INDEX (PRIMARY)"
_CHANGED = update(PLACES).with_hint(_BY_KEY, dialect_name="mysql")
# How many places one statement names.
_BATCH = 100

# The primary key of a place: task, attempt, limit.
_Key = tuple[UUID, int, str]


def lock_limit(db: Session, name: str, *, alone: bool = False) -> Limit | None:
    """The limit, locked until the commit against other admissions; with `alone` also against submits that name it.

    Only PostgreSQL has a lock that lets those submits through.
    """
    found = select(Limit).where(Limit.name == name).with_for_update(key_share=not alone)
    return db.scalars(found.execution_options(populate_existing=True)).one_or_none()


def keep_limits(db: Session, names: Collection[str], *, for_excess: bool = False) -> dict[str, Limit]:
    """Those of the limits that there are, by name. None of them is deleted until the commit.

    With `for_excess` one that does not let its tasks wait is locked against others at once: the caller will lock it,
    and two that share a lock would wait for each other then.
    """
    exact = select(_LIMITS.c.name).where(_LIMITS.c.name.in_(names), ~_LETS_WAIT)
    counted = set(db.scalars(exact)) if for_excess else set()
    found = {}
    for name in sorted(names):
        kept = select(Limit).where(Limit.name == name).with_for_update(read=name not in counted, key_share=True)
        limit = db.scalars(kept.execution_options(populate_existing=True)).one_or_none()
        if limit is not None:
            found[name] = limit
    return found


def _number(which: ColumnElement[bool]) -> ColumnElement[int]:
    """How many rows match."""
    return func.count(case((which, 1)))


def usage_of_limit(db: Session, limit: Limit) -> Usage:
    """Return how many places of the whole limit are in use."""
    counts = select(_number(TAKEN), _number(starts(limit.rate)), _number(TAKEN & UNCLAIMED))
    return Usage(*db.execute(counts.where(of_limit(limit.name))).one())


def usage_of_keys(db: Session, limit: Limit, keys: Collection[str]) -> dict[str, Usage]:
    """Return the same of each of these keys that has any."""
    counts = (_number(TAKEN), _number(starts(limit.rate_per_key)), _number(TAKEN & UNCLAIMED))
    of_keys = select(PLACES.c.limit_key, *counts).where(of_limit(limit.name, keys)).group_by(PLACES.c.limit_key)
    return {key: Usage(*numbers) for key, *numbers in db.execute(of_keys)}


def give_places(db: Session, name: str, ids: Sequence[UUID]) -> None:
    """Give each of these rows a place of this limit, for which they wait, and which this transaction has locked."""
    kind = kind_of(name)
    rows = lock_tasks(db, [TASKS.c[column] for column in ("id", "attempt", kind.key)], ids, PENDING)
    # At the line's clock at least: a claim looks below it only now and then.
    values = {"held": kind.held_then, "turn": greatest(TASKS.c.turn, clock_of(TASKS))}
    change_tasks(db, [row.id for row in rows], values)
    places = [
        {"task_id": task_id, "attempt": attempt + 1, "limit_name": name, "limit_key": None if key is None else str(key)}
        for task_id, attempt, key in rows
    ]
    # A place that it had been given and lost, by a change of the task, and that was not taken away yet.
    upsert(db, PLACES, places, lambda _, new: {"limit_key": new.limit_key, "admitted_at": NOW})


def take_places(
    db: Transaction, rows: Sequence[tuple[UUID, int, str | None, bool]], worker_id: UUID, worker_pid: int
) -> set[UUID]:
    """Have this process take the places of these attempts, which a claim begins. For a claim that has locked the tasks.

    Each row is the task's id, the number of the attempt, the limit, and whether it needs a place of its user. Returns
    the ids of those whose places were all there: of the others none is taken, and they may not begin.
    """
    wanted = {
        task_id: {(task_id, attempt, name) for name in (limit, USER_LIMIT if by_user else None) if name is not None}
        for task_id, attempt, limit, by_user in rows
    }
    free = set(_lock(db, [key for keys in wanted.values() for key in keys], UNCLAIMED, TAKEN))
    complete = {task_id for task_id, keys in wanted.items() if keys <= free}
    started = {"started_at": NOW, "worker_id": worker_id, "worker_pid": worker_pid}
    _change(db, _CHANGED.values(started), [key for key in free if key[0] in complete])
    return complete


def free_places(db: Session, *which: ColumnElement[bool]) -> list[tuple[str, str | None]]:
    """Free the places that match and are taken: limit and key of each. Starts that a rate counts stay on record."""
    # First without locks: most often there is none, and what does not match is not waited for.
    found = db.execute(select(*_KEY).where(*which, TAKEN)).all()
    places = _lock(db, [(row[0], row[1], row[2]) for row in found], *which, TAKEN)
    if not places:
        return []
    has_rate = or_(_LIMITS.c.rate_count.is_not(None), _LIMITS.c.rate_per_key_count.is_not(None))
    names = {name for _, _, name in places}
    counting = set(db.scalars(select(_LIMITS.c.name).where(_LIMITS.c.name.in_(names), has_rate)))
    kept = [key for key, place in places.items() if place.started_at is not None and place.limit_name in counting]
    _change(db, delete(PLACES), places.keys() - kept)
    _change(db, _CHANGED.values(ended_at=NOW), kept)
    return [(place.limit_name, place.limit_key) for place in places.values()]


def _lock(db: Transaction, keys: Collection[_Key], *which: ColumnElement[bool]) -> dict[_Key, Any]:
    """Lock those of these places that match: their rows by key. All transactions lock them in one order."""
    places = select(*_KEY, PLACES.c.limit_key, PLACES.c.started_at).where(*which).order_by(*_KEY).with_for_update()
    places = places.with_hint(PLACES, _BY_KEY, "mysql")
    found = [row for batch in _batches(keys) for row in db.execute(places.where(_are(batch)))]
    return {(row.task_id, row.attempt, row.limit_name): row for row in found}


def _change(db: Transaction, statement: Any, keys: Collection[_Key]) -> None:
    for batch in _batches(keys):
        db.execute(statement.where(_are(batch)))


def _batches(keys: Collection[_Key]) -> Iterator[list[_Key]]:
    in_order = sorted(keys)
    return (in_order[at : at + _BATCH] for at in range(0, len(in_order), _BATCH))


def _are(keys: Sequence[_Key]) -> ColumnElement[bool]:
    # By a list of rows, MariaDB would read and lock all places of their tasks.
    return or_(*(and_(*map(operator.eq, _KEY, key)) for key in keys))


def of_attempts(attempts: Sequence[tuple[UUID, int]]) -> ColumnElement[bool]:
    """The places of these attempts."""
    of_tasks = PLACES.c.task_id.in_([task_id for task_id, _ in attempts])
    return of_tasks & tuple_(PLACES.c.task_id, PLACES.c.attempt).in_(attempts)


def without_use(name: str, keys: Collection[str] | None = None) -> ColumnElement[bool]:
    """Return the condition of the places of this limit, or of these keys of it, that no claim will take.

    Their tasks were ended, deleted or changed while they waited. Only true while the limit, or these users, are locked.
    """
    kind = kind_of(name)
    attempt = (TASKS.c.id == PLACES.c.task_id, TASKS.c.attempt + 1 == PLACES.c.attempt)
    waits = select(TASKS.c.id).where(*attempt, PENDING, TASKS.c.turn.is_not(None), kind.has_place, kind.needs)
    # With a limit, and not EXISTS: else MySQL may make a join of it, and begin with all tasks.
    is_waited_for = waits.limit(1).correlate(PLACES).scalar_subquery().is_not(None)
    return and_(of_limit(name, keys), UNCLAIMED, ~is_waited_for)


def forget_starts(db: Session, limit: Limit) -> None:
    """Delete the starts that no rate of this limit counts any more."""
    counting = rates(limit)
    passed = [PLACES.c.started_at <= NOW - period(*counting)] if counting else []
    forget_places(db, of_limit(limit.name), ~TAKEN, *passed)


def forget_places(db: Session, *which: ColumnElement[bool]) -> None:
    """Delete the places that match. By their keys, so that no other one is waited for."""
    found = db.execute(select(*_KEY).where(*which))
    _change(db, delete(PLACES), [(row[0], row[1], row[2]) for row in found])


def seconds_until_start(db: Session, limit: Limit) -> float | None:
    """In how many seconds the oldest start that counts leaves the period of a rate; None if there is none."""
    waits = []
    for rate in rates(limit):
        counted = (of_limit(limit.name), PLACES.c.started_at > NOW - period(rate))
        until = db.scalar(select(seconds_between(NOW, func.min(PLACES.c.started_at))).where(*counted))
        waits += [] if until is None else [float(until) + rate.period_seconds + BEGIN_SECONDS]
    return min(waits, default=None)


def insert_missing(db: Session, name: str) -> None:
    """Make the row of a limit, unless there is one; its bounds are set by the same transaction."""
    upsert(db, _LIMITS, [{"name": name, "concurrency": 1}])
