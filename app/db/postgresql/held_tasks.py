"""Rows that wait for a place of a limit: the next of all lines in one statement. All else is as on every engine."""

from collections.abc import Collection
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    Text,
    bindparam,
    column,
    exists,
    func,
    literal_column,
    select,
    true,
)
from sqlalchemy.orm import Session

from app.db.statements.held_tasks import (
    admitted,
    hold,
    hold_unknown,
    hold_without_place,
    release_known,
    take_back,
    waiting_keys,
    with_waiting,
)
from app.db.statements.pending_rows import LOOK_SIZES, PENDING, HeldRow, Lines, is_held
from app.db.statements.tables import TASKS
from app.ddl.clock import NOW
from app.ddl.columns import TextArray
from app.models.task import Held

__all__ = [
    "admitted",
    "hold",
    "hold_unknown",
    "hold_without_place",
    "release_known",
    "take_back",
    "waiting_keys",
    "with_waiting",
]

_OF_LIMIT = TASKS.c.limit == bindparam("p_limit")


def in_lines() -> Any:
    """The rows of `p_queues` and `p_priorities`, numbered."""
    return (
        func.unnest(bindparam("p_queues", type_=TextArray), bindparam("p_priorities", type_=TextArray))
        .table_valued(column("queue", Text), column("priority", Text), with_ordinality="place", name="line")
        .render_derived()
    )


def next_of_line(lines: Any, held: Held, number: int, *which: ColumnElement[bool]) -> Any:
    """Beside each of these lines: the first rows of it that are held by this, locked, at most `number`."""
    rows = (
        select(TASKS.c.id, TASKS.c.celery_task_name, TASKS.c.limit_key, TASKS.c.turn)
        .where(
            *which,
            PENDING,
            is_held(held),
            TASKS.c.turn.is_not(None),
            TASKS.c.queue == lines.c.queue,
            TASKS.c.priority == lines.c.priority,
            func.coalesce(TASKS.c.expires_at, "infinity") > NOW,
        )
        .order_by(TASKS.c.turn, TASKS.c.id)
        .limit(literal_column(str(number), Integer))
        .with_for_update(skip_locked=True)
    )
    return rows.correlate_except(TASKS).lateral("next")


@lru_cache(maxsize=len(LOOK_SIZES) + 1)
def _next_statement(number: int) -> Select[Any]:
    lines = in_lines()
    rows = next_of_line(lines, Held.LIMIT, number, _OF_LIMIT)
    columns = (rows.c.id, lines.c.queue, rows.c.celery_task_name, rows.c.limit_key, lines.c.place, rows.c.turn)
    return select(*columns).select_from(lines.join(rows, true())).limit(literal_column(str(number), Integer))


def next_held(db: Session, name: str, lines: Lines, number: int) -> list[HeldRow]:
    """The next rows that wait for a place of this limit, in their order, locked: about `number` of them."""
    size = next((size for size in LOOK_SIZES if size >= number), LOOK_SIZES[-1])
    values = {"p_limit": name, "p_queues": lines.queues, "p_priorities": lines.priorities}
    rows = [HeldRow(*row) for row in db.execute(_next_statement(size), values)]
    return sorted(rows, key=lambda row: (row.place, row.turn, row.id))


@lru_cache(maxsize=1)
def _next_of_keys() -> Select[Any]:
    keys = (
        func.unnest(bindparam("p_keys", type_=TextArray)).table_valued(column("key", Text), name="of").render_derived()
    )
    lines = in_lines()
    row = next_of_line(lines, Held.LIMIT_KEY, 1, _OF_LIMIT, TASKS.c.limit_key == keys.c.key)
    first = select(row.c.id, lines.c.place).select_from(lines.join(row, true())).limit(literal_column("1", Integer))
    found = first.lateral("first")
    # One look for a key of which no row waits, and not one in each line.
    waits = exists().where(
        _OF_LIMIT, TASKS.c.limit_key == keys.c.key, is_held(Held.LIMIT_KEY), PENDING, TASKS.c.turn.is_not(None)
    )
    return select(keys.c.key, found.c.id, found.c.place).select_from(keys.join(found, true())).where(waits)


def next_of_keys(db: Session, name: str, lines: Lines, keys: Collection[str]) -> dict[str, tuple[UUID, int]]:
    """The next row of each of these keys that waits for its key, and the place of its line; locked."""
    values = {"p_limit": name, "p_queues": lines.queues, "p_priorities": lines.priorities, "p_keys": list(keys)}
    return {key: (task_id, place) for key, task_id, place in db.execute(_next_of_keys(), values)}
