"""Limits: places that are given, and freed, in one statement each. All else is as on every engine."""

from collections.abc import Sequence
from functools import lru_cache
from uuid import UUID

from sqlalchemy import ColumnElement, Insert, Text, bindparam, cast, delete, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.statements.limit_places import TAKEN, PlaceKind, kind_of
from app.db.statements.limits import (
    forget_places,
    forget_starts,
    insert_missing,
    keep_limits,
    lock_limit,
    of_attempts,
    seconds_until_start,
    usage_of_keys,
    usage_of_limit,
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
    "keep_limits",
    "lock_limit",
    "of_attempts",
    "seconds_until_start",
    "usage_of_keys",
    "usage_of_limit",
    "without_use",
]


@lru_cache(maxsize=2)
def _give_statement(kind: PlaceKind) -> Insert:
    # At the line's clock at least: a claim looks below it only now and then.
    values = {"held": kind.held_then, "turn": func.greatest(TASKS.c.turn, clock_of(TASKS))}
    rows = update(TASKS).where(is_one_of(TASKS.c.id, "p_ids"), PENDING).values(values)
    given = rows.returning(TASKS.c.id, TASKS.c.attempt, TASKS.c[kind.key]).cte("given")
    place = insert(PLACES).from_select(
        ["task_id", "attempt", "limit_name", "limit_key"],
        select(given.c.id, given.c.attempt + 1, bindparam("p_name", type_=Text), cast(given.c[kind.key], Text)),
    )
    # A place that it had been given and lost, by a change of the task, and that was not taken away yet.
    again = {"limit_key": place.excluded.limit_key, "admitted_at": NOW}
    return place.on_conflict_do_update(index_elements=list(PLACES.primary_key), set_=again)


def give_places(db: Session, name: str, ids: Sequence[UUID]) -> None:
    """Give each of these rows a place of this limit, for which they wait, and which this transaction has locked."""
    db.execute(_give_statement(kind_of(name)), {"p_ids": list(ids), "p_name": name})


def free_places(db: Session, *which: ColumnElement[bool]) -> list[tuple[str, str | None]]:
    """Free the places that match and are taken: limit and key of each. Starts that a rate counts stay on record."""
    counts = exists().where(
        Limit.name == PLACES.c.limit_name, or_(Limit.rate_count.is_not(None), Limit.rate_per_key_count.is_not(None))
    )
    of = (PLACES.c.limit_name, PLACES.c.limit_key)
    begun = PLACES.c.started_at.is_not(None)
    gone = delete(PLACES).where(*which, TAKEN, ~(begun & counts)).returning(*of)
    kept = update(PLACES).where(*which, TAKEN, begun, counts).values(ended_at=NOW).returning(*of)
    return [(name, key) for statement in (gone, kept) for name, key in db.execute(statement)]
