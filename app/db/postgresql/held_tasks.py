"""Rows that wait for a place of a limit: the next of all lines in one statement. All else is as on every engine."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    Text,
    Uuid,
    and_,
    bindparam,
    cast,
    column,
    func,
    literal_column,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from app.db.statements.held_tasks import (
    admitted_tasks,
    hold_tasks,
    hold_unknown,
    hold_without_place,
    limits_waited_for,
    release_known,
    take_places_back,
    waiting_keys,
)
from app.db.statements.limit_places import kind_of
from app.db.statements.pending_rows import LINE, LOOK_SIZES, PENDING, HeldRow, Lines, is_held, waits_for
from app.db.statements.tables import TASKS
from app.ddl.clock import NOW
from app.ddl.columns import TextArray
from app.models.task import Held

__all__ = [
    "admitted_tasks",
    "hold_tasks",
    "hold_unknown",
    "hold_without_place",
    "limits_waited_for",
    "release_known",
    "take_places_back",
    "waiting_keys",
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
        select(*(TASKS.c[name] for name in ("id", "celery_task_name", "limit", "limit_key", "turn")))
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


def _with_lines(lines: Any, rows: Any, key: ColumnElement[str]) -> Select[Any]:
    """The columns of HeldRow."""
    columns = (rows.c.id, lines.c.queue, rows.c.celery_task_name, rows.c.limit, key, lines.c.place, rows.c.turn)
    return select(*columns).select_from(lines.join(rows, true()))


@lru_cache(maxsize=len(LOOK_SIZES))
def _next_statement(number: int) -> Select[Any]:
    lines = in_lines()
    rows = next_of_line(lines, Held.LIMIT, number, _OF_LIMIT)
    return _with_lines(lines, rows, rows.c.limit_key).limit(literal_column(str(number), Integer))


def next_of_limit(db: Session, name: str, lines: Lines, number: int) -> list[HeldRow]:
    """The next rows that wait for a place of this limit, in their order, locked: about `number` of them."""
    size = next((size for size in LOOK_SIZES if size >= number), LOOK_SIZES[-1])
    values = {"p_limit": name, "p_queues": lines.queues, "p_priorities": lines.priorities}
    rows = [HeldRow(*row) for row in db.execute(_next_statement(size), values)]
    return sorted(rows, key=lambda row: (row.place, row.turn, row.id))


@lru_cache(maxsize=2)
def _next_of_keys(held: Held) -> Select[Any]:
    keys = (
        func.unnest(bindparam("p_keys", type_=TextArray), bindparam("p_rooms", type_=ARRAY(Integer)))
        .table_valued(column("key", Text), column("room", Integer), name="of")
        .render_derived()
    )
    of_user = TASKS.c.user_id == cast(keys.c.key, Uuid)
    of_key = of_user if held is Held.USER else and_(_OF_LIMIT, TASKS.c.limit_key == keys.c.key)
    lines = in_lines()
    # The inner LIMIT is a number, for the plan; no more rows are read and locked than the outer one asks for.
    row = next_of_line(lines, held, LOOK_SIZES[-1], of_key)
    first = _with_lines(lines, row, keys.c.key).limit(keys.c.room).lateral("first")
    # One look for a key of which no row waits, and not one in each line. As EXISTS it would read all that is held.
    row_of_key = select(TASKS.c.id).where(of_key, *waits_for(held)).order_by(*(TASKS.c[name] for name in LINE[1:]))
    waits = row_of_key.limit(literal_column("1", Integer)).correlate(keys).scalar_subquery().is_not(None)
    return select(*first.c).select_from(keys.join(first, true())).where(waits)


def next_of_keys(db: Session, name: str, lines: Lines, rooms: Mapping[str, int]) -> list[HeldRow]:
    """The next rows of each of these keys that wait for the key, locked: as many as the key has room for."""
    values = {
        "p_queues": lines.queues,
        "p_priorities": lines.priorities,
        "p_keys": list(rooms),
        "p_rooms": [min(room, LOOK_SIZES[-1]) for room in rooms.values()],
    }
    found = db.execute(_next_of_keys(kind_of(name).held_by_key), {**values, "p_limit": name})
    return [HeldRow(*row) for row in found]
