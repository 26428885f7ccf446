"""Places of users: the next rows, and places for them, in one statement each. All else is as on every engine."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Integer, Select, Text, Uuid, bindparam, cast, column, func, select, true
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from app.db.postgresql.held_tasks import in_lines, next_of_line
from app.db.postgresql.limits import admission
from app.db.statements.limit_places import HeldRowOfUser
from app.db.statements.pending_rows import LOOK_SIZES, Lines, is_held
from app.db.statements.tables import TASKS
from app.db.statements.task_moves import HELD_BY_LIMIT
from app.db.statements.user_places import (
    hold_due,
    hold_without_place,
    is_used,
    lock,
    of_users,
    release_held,
    usage,
    users_at_hand,
    without_use,
)
from app.ddl.terms import USER_LIMIT
from app.models.task import Held

__all__ = [
    "hold_due",
    "hold_without_place",
    "is_used",
    "lock",
    "of_users",
    "release_held",
    "usage",
    "users_at_hand",
    "without_use",
]


@lru_cache(maxsize=1)
def _next_statement() -> Select[Any]:
    users = (
        func.unnest(bindparam("p_users", type_=ARRAY(Uuid)), bindparam("p_rooms", type_=ARRAY(Integer)))
        .table_valued(column("user_id", Uuid), column("room", Integer), name="of")
        .render_derived()
    )
    lines = in_lines()
    # The inner LIMIT is a number, for the plan; no more rows are read and locked than the outer one asks for.
    row = next_of_line(lines, Held.USER, LOOK_SIZES[-1], TASKS.c.user_id == users.c.user_id)
    columns = (row.c.id, lines.c.queue, row.c.celery_task_name, lines.c.place)
    first = select(*columns).select_from(lines.join(row, true())).limit(users.c.room).lateral("first")
    return select(first.c.id, cast(users.c.user_id, Text), *list(first.c)[1:]).select_from(users.join(first, true()))


def next_held(db: Session, lines: Lines, rooms: Mapping[str, int]) -> list[HeldRowOfUser]:
    """The next rows of each of these users that wait for a place, locked: as many as the user has room for."""
    values = {
        "p_users": [UUID(user) for user in rooms],
        "p_rooms": [min(room, LOOK_SIZES[-1]) for room in rooms.values()],
        "p_queues": lines.queues,
        "p_priorities": lines.priorities,
    }
    return [HeldRowOfUser(*row) for row in db.execute(_next_statement(), values)]


@lru_cache(maxsize=1)
def _admit_statement() -> Select[Any]:
    admitted, place = admission(HELD_BY_LIMIT, USER_LIMIT, "user_id", is_held(Held.USER))
    return select(admitted.c.queue, admitted.c.limit).add_cte(place.cte("placed"))


def admit(db: Session, ids: Sequence[UUID]) -> list[tuple[str, str | None]]:
    """Give each of these rows a place. Returns the queue and the limit of each; with a limit it waits for that now."""
    return [(queue, limit) for queue, limit in db.execute(_admit_statement(), {"p_ids": list(ids)})]
