"""Limits: places that are given, and freed, in one statement each. All else is as on every engine."""

from collections.abc import Sequence
from functools import lru_cache
from uuid import UUID

from sqlalchemy import CTE, ColumnElement, Insert, Text, cast, delete, exists, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.statements.limit_places import TAKEN
from app.db.statements.limits import (
    forget_places,
    forget_starts,
    insert_missing,
    keep,
    lock,
    of_attempts,
    seconds_until_start,
    usage,
    usage_of_keys,
    without_use,
)
from app.db.statements.pending_rows import PENDING, clock_of
from app.db.statements.reads import is_one_of
from app.db.statements.tables import PLACES, TASKS
from app.ddl.clock import NOW
from app.models.limit import Limit

__all__ = [
    "forget_places",
    "forget_starts",
    "insert_missing",
    "keep",
    "lock",
    "of_attempts",
    "seconds_until_start",
    "usage",
    "usage_of_keys",
    "without_use",
]


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
