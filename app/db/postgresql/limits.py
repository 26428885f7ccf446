"""Limits, and the places that are taken: how many there are, who takes one, and when it is free.

Who gives or takes places locks the limit's row first (`lock`). So one admission of a limit runs at a time, and what it
counts stays true until its commit: places that others end meanwhile only make more room.
"""

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    ColumnElement,
    Insert,
    Integer,
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
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.orm import Session

from app.db.clock import NOW
from app.db.postgresql.conditions import is_one_of
from app.db.postgresql.turns import PENDING, clock_of
from app.db.statements.limit_places import TAKEN, UNCLAIMED, Usage, of_limit, period, rates, starts
from app.db.statements.tables import PLACES, TASKS
from app.models.limit import Limit


def lock(db: Session, name: str, *, alone: bool = False) -> Limit | None:
    """The limit, locked until the commit against other admissions; with `alone` also against submits that name it."""
    found = select(Limit).where(Limit.name == name).with_for_update(key_share=not alone)
    return db.scalars(found.execution_options(populate_existing=True)).one_or_none()


def keep(db: Session, names: Collection[str]) -> dict[str, Limit]:
    """Those of the limits that there are, by name. None of them is deleted until the commit."""
    found = select(Limit).where(Limit.name.in_(sorted(names))).order_by(Limit.name)
    return {limit.name: limit for limit in db.scalars(found.with_for_update(read=True, key_share=True))}


def usage(db: Session, limit: Limit) -> Usage:
    """Of the whole limit."""
    ahead = func.count().filter(TAKEN & UNCLAIMED)
    counts = select(func.count().filter(TAKEN), func.count().filter(starts(limit.rate)), ahead)
    return Usage(*db.execute(counts.where(of_limit(limit.name))).one())


def usage_of_keys(db: Session, limit: Limit, keys: Collection[str]) -> dict[str, Usage]:
    """Of each of these keys that has places."""
    counts = select(PLACES.c.limit_key, func.count().filter(TAKEN), func.count().filter(starts(limit.rate_per_key)))
    of_keys = counts.where(of_limit(limit.name), is_one_of(PLACES.c.limit_key, "p_keys"))
    found = db.execute(of_keys.group_by(PLACES.c.limit_key), {"p_keys": list(keys)})
    return {key: Usage(taken, starts) for key, taken, starts in found}


def admission(
    held: ColumnElement[str] | None, name: str | None, key: str, *which: ColumnElement[bool]
) -> tuple[CTE, Insert]:
    """The rows `p_ids` that get places of this limit, by default of the one that each names, and the INSERT of these.

    `held`: what they wait for then. `key`: the column whose value is the place's key, as text.
    """
    # At the line's clock at least: a claim looks below it only now and then.
    values = {"held": held, "turn": func.greatest(TASKS.c.turn, clock_of(TASKS))}
    returned = [TASKS.c[column] for column in ("id", "attempt", "user_id", "queue", "limit", "limit_key")]
    rows = update(TASKS).where(is_one_of(TASKS.c.id, "p_ids"), PENDING, *which).values(values)
    admitted = rows.returning(*returned).cte("admitted")
    of = admitted.c.limit if name is None else literal(name)
    place = insert(PLACES).from_select(
        ["task_id", "attempt", "limit_name", "limit_key"],
        select(admitted.c.id, admitted.c.attempt + 1, of, cast(admitted.c[key], Text)),
    )
    # A place that it had been given and lost, by a change of the task, and that was not taken away yet.
    again = {"limit_key": place.excluded.limit_key, "admitted_at": NOW}
    return admitted, place.on_conflict_do_update(index_elements=list(PLACES.primary_key), set_=again)


@lru_cache(maxsize=1)
def _admit_statement() -> Insert:
    _, place = admission(None, None, "limit_key")
    return place


def admit(db: Session, ids: Sequence[UUID]) -> None:
    """Give each of these held rows a place: a claim may take them."""
    db.execute(_admit_statement(), {"p_ids": list(ids)})


def release(db: Session, *which: ColumnElement[bool]) -> list[tuple[str, str | None]]:
    """Free the places that match and are taken: limit and key of each. Starts that a rate counts stay on record."""
    counts = exists().where(
        Limit.name == PLACES.c.limit_name, or_(Limit.rate_count.is_not(None), Limit.rate_per_key_count.is_not(None))
    )
    of = (PLACES.c.limit_name, PLACES.c.limit_key)
    begun = PLACES.c.started_at.is_not(None)
    gone = delete(PLACES).where(*which, TAKEN, ~(begun & counts)).returning(*of)
    kept = update(PLACES).where(*which, TAKEN, begun, counts).values(ended_at=NOW).returning(*of)
    return [(name, key) for statement in (gone, kept) for name, key in db.execute(statement)]


def of_attempts(attempts: Sequence[tuple[UUID, int]]) -> ColumnElement[bool]:
    """The places of these attempts."""
    # Two arrays and not a condition for each: one statement, and one plan, for any number of attempts.
    ids = literal([task_id for task_id, _ in attempts], ARRAY(PLACES.c.task_id.type))
    numbers = literal([attempt for _, attempt in attempts], ARRAY(Integer))
    wanted = func.unnest(ids, numbers).table_valued(column("task_id", Uuid), column("attempt", Integer), name="of")
    of = wanted.render_derived()
    return tuple_(PLACES.c.task_id, PLACES.c.attempt).in_(select(of.c.task_id, of.c.attempt))


def without_use(name: str) -> ColumnElement[bool]:
    """The places of this limit that no claim will take: the task was ended, deleted or changed while it waited.

    Only true while the limit is locked.
    """
    waits = select(TASKS.c.id).where(
        TASKS.c.id == PLACES.c.task_id,
        PENDING,
        TASKS.c.held.is_(None),
        TASKS.c.turn.is_not(None),
        TASKS.c.limit == PLACES.c.limit_name,
        TASKS.c.attempt + 1 == PLACES.c.attempt,
    )
    # With a limit, which the planner cannot turn into a join that reads all tasks.
    row = waits.limit(literal_column("1", Integer)).correlate(PLACES).scalar_subquery()
    return of_limit(name) & UNCLAIMED & row.is_(None)


def forget_starts(db: Session, limit: Limit) -> None:
    """Delete the starts that no rate of this limit counts any more."""
    counting = rates(limit)
    passed = [PLACES.c.started_at <= NOW - period(*counting)] if counting else []
    db.execute(delete(PLACES).where(of_limit(limit.name), PLACES.c.ended_at.is_not(None), *passed))


def seconds_until_start(db: Session, limit: Limit) -> float | None:
    """In how many seconds the oldest start that counts leaves the period of a rate; None if there is none."""
    waits: list[Any] = []
    for rate in rates(limit):
        window = period(rate)
        oldest = select(func.extract("epoch", func.min(PLACES.c.started_at) + window - NOW)).where(
            of_limit(limit.name), PLACES.c.started_at > NOW - window
        )
        waits.append(db.execute(oldest).scalar_one())
    return min((float(wait) for wait in waits if wait is not None), default=None)


def forget_places(db: Session, name: str) -> None:
    """Delete all that is on record of a limit."""
    db.execute(delete(PLACES).where(of_limit(name)))


def insert_missing(db: Session, name: str) -> None:
    """Make the row of a limit, unless there is one; its bounds are set by the same transaction."""
    db.execute(insert(Limit).values(name=name, concurrency=1).on_conflict_do_nothing())
