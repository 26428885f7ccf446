"""Places of users, which tasks need while QUOTA_RUNNING_TASKS is set: a place is a row as that of a limit.

Who gives places of users, or takes them away, locks these users first (`lock`). So one admission of a user runs at a
time, and what it counts stays true until its commit.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    Text,
    Uuid,
    bindparam,
    cast,
    column,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from app.db.postgresql.conditions import is_one_of
from app.db.postgresql.held_tasks import in_lines, next_of_line, waiting_values
from app.db.postgresql.limits import admission
from app.db.postgresql.schema.types import TextList
from app.db.postgresql.turns import PENDING, clock_of
from app.db.rows import changed_rows
from app.db.statements.held_rows import SIZES, Lines, is_held
from app.db.statements.limit_places import TAKEN, UNCLAIMED, Usage
from app.db.statements.tables import PLACES, TASKS
from app.db.statements.task_moves import HELD_BY_LIMIT
from app.db.statements.user_place_terms import DUE_WITHOUT_QUOTA, HAS_PLACE, HELD_FOR_USER, OF_USERS, HeldRow
from app.db.trigger_terms import USER_LIMIT
from app.models.task import Held

_SALT = 7315624


def lock(db: Session, users: Collection[str]) -> None:
    """Lock these users until the commit against other admissions, in one order for all transactions."""
    of = (
        func.unnest(bindparam("p_users", type_=TextList)).table_valued(column("user", Text), name="of").render_derived()
    )
    key = func.hashtextextended(of.c.user, literal_column(str(_SALT), Integer))
    db.execute(select(func.pg_advisory_xact_lock(key)), {"p_users": sorted(users)})


def usage(db: Session, users: Collection[str]) -> dict[str, Usage]:
    """The places of each of these users that has any."""
    counts = select(PLACES.c.limit_key, func.count(), func.count().filter(UNCLAIMED))
    of_users = counts.where(OF_USERS, is_one_of(PLACES.c.limit_key, "p_users"), TAKEN)
    found = db.execute(of_users.group_by(PLACES.c.limit_key), {"p_users": list(users)})
    return {user: Usage(taken, ahead, ahead) for user, taken, ahead in found}


@lru_cache(maxsize=1)
def _next_statement() -> Select[Any]:
    users = (
        func.unnest(bindparam("p_users", type_=ARRAY(Uuid)), bindparam("p_rooms", type_=ARRAY(Integer)))
        .table_valued(column("user_id", Uuid), column("room", Integer), name="of")
        .render_derived()
    )
    lines = in_lines()
    # The inner LIMIT is a number, for the plan; no more rows are read and locked than the outer one asks for.
    row = next_of_line(lines, Held.USER, SIZES[-1], TASKS.c.user_id == users.c.user_id)
    columns = (row.c.id, lines.c.queue, row.c.celery_task_name, lines.c.place)
    first = select(*columns).select_from(lines.join(row, true())).limit(users.c.room).lateral("first")
    return select(first.c.id, cast(users.c.user_id, Text), *list(first.c)[1:]).select_from(users.join(first, true()))


def next_held(db: Session, lines: Lines, rooms: Mapping[str, int]) -> list[HeldRow]:
    """The next rows of each of these users that wait for a place, locked: as many as the user has room for."""
    values = {
        "p_users": [UUID(user) for user in rooms],
        "p_rooms": [min(room, SIZES[-1]) for room in rooms.values()],
        "p_queues": lines.queues,
        "p_priorities": lines.priorities,
    }
    return [HeldRow(*row) for row in db.execute(_next_statement(), values)]


@lru_cache(maxsize=1)
def _admit_statement() -> Select[Any]:
    admitted, place = admission(HELD_BY_LIMIT, USER_LIMIT, "user_id", is_held(Held.USER))
    return select(admitted.c.queue, admitted.c.limit).add_cte(place.cte("placed"))


def admit(db: Session, ids: Sequence[UUID]) -> list[tuple[str, str | None]]:
    """Give each of these rows a place. Returns the queue and the limit of each; with a limit it waits for that now."""
    return [(queue, limit) for queue, limit in db.execute(_admit_statement(), {"p_ids": list(ids)})]


def of_users(users: Collection[str]) -> ColumnElement[bool]:
    """The places of these users."""
    return OF_USERS & (PLACES.c.limit_key == func.any(literal(list(users), TextList)))


def without_use() -> ColumnElement[bool]:
    """The places of users that no claim will take: the task was ended, deleted or changed while it waited.

    Only true while the users are locked.
    """
    waits = select(TASKS.c.id).where(
        TASKS.c.id == PLACES.c.task_id,
        PENDING,
        HAS_PLACE,
        TASKS.c.turn.is_not(None),
        TASKS.c.user_limited,
        TASKS.c.attempt + 1 == PLACES.c.attempt,
    )
    # With a limit, which the planner cannot turn into a join that reads all tasks.
    row = waits.limit(literal_column("1", Integer)).correlate(PLACES).scalar_subquery()
    return UNCLAIMED & row.is_(None)


def users_at_hand(db: Session) -> list[str]:
    """The users who have places that no claim has taken, or tasks that wait for one: an index lookup for each."""
    places = select(PLACES.c.limit_key).where(OF_USERS, UNCLAIMED, TAKEN).distinct()
    users = waiting_values(TASKS.c.user_id, Held.USER)
    waiting = db.scalars(select(cast(users.c.value, Text)).where(users.c.value.is_not(None)))
    return sorted({*db.scalars(places), *waiting})


def is_used(db: Session) -> bool:
    """Whether any user has a place, or a task that waits for one."""
    place = exists().where(OF_USERS, TAKEN)
    waits = exists().where(PENDING, TASKS.c.turn.is_not(None), is_held(Held.USER))
    return bool(db.scalar(select(or_(place, waits))))


# -- rows from before the quota, and after it --------------------------------------------------------------------------


def hold_due(db: Session, number: int) -> int:
    """Have a batch of the tasks that get their turns now wait for a place, which were made without the quota."""
    return _change(db, number, HELD_FOR_USER, [TASKS.c.due_at], PENDING, *DUE_WITHOUT_QUOTA)


def hold_without_place(db: Session, number: int) -> int:
    """Have a batch of the tasks wait for a place that neither wait nor have one. Returns how many.

    Reads the ready rows, of which only those with places are left, and those that wait for limits.
    """
    place = exists().where(PLACES.c.task_id == TASKS.c.id, PLACES.c.attempt == TASKS.c.attempt + 1, OF_USERS, TAKEN)
    lacking = (PENDING, TASKS.c.turn.is_not(None), or_(TASKS.c.user_limited.is_not(True), ~place))
    values = {"user_limited": True, "held": Held.USER.value}
    ready = _change(db, number, values, [TASKS.c.queue], *lacking, TASKS.c.held.is_(None))
    in_line = _change(db, number, values, [TASKS.c.limit], *lacking, is_held(Held.LIMIT))
    keys = [TASKS.c.limit, TASKS.c.limit_key]
    of_keys = _change(db, number, values, keys, *lacking, is_held(Held.LIMIT_KEY), TASKS.c.limit_key.is_not(None))
    return max(ready, in_line, of_keys)


def release_held(db: Session, number: int) -> int:
    """Let a batch of the tasks go on that wait for a place of their user. Returns how many."""
    values = {
        "user_limited": None,
        "held": HELD_BY_LIMIT,
        "turn": func.greatest(TASKS.c.turn, clock_of(TASKS)),
    }
    # A prefix of the index would do for another one too, in which the released rows stay.
    order = [TASKS.c[name] for name in ("user_id", "queue", "priority", "turn")]
    return _change(db, number, values, order, PENDING, TASKS.c.turn.is_not(None), is_held(Held.USER))


def _change(
    db: Session, number: int, values: dict[str, Any], order: Sequence[ColumnElement[Any]], *which: ColumnElement[bool]
) -> int:
    # In the order of a partial index: else PostgreSQL may read the whole table for each batch.
    first = select(TASKS.c.id).where(*which).order_by(*order).limit(number)
    rows = first.with_for_update(of=TASKS, skip_locked=True).cte("batch")
    return changed_rows(db.execute(update(TASKS).where(TASKS.c.id == rows.c.id).values(values)))
