"""Places of users, which tasks need while QUOTA_RUNNING_TASKS is set: a place is a row as that of a limit.

Who gives places of users, or takes them away, locks these users first (`lock`). So one admission of a user runs at a
time, and what it counts stays true until its commit.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    Text,
    Uuid,
    bindparam,
    case,
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

from app.db.base import Base
from app.db.clock import STATEMENT_TIME
from app.db.postgresql.conditions import is_one_of
from app.db.postgresql.held_tasks import SIZES, Lines, in_lines, is_held, next_of_line, waiting_values
from app.db.postgresql.limits import TAKEN, UNCLAIMED, Usage, admission, of_limit
from app.db.postgresql.schema.types import TextList
from app.db.postgresql.turns import clock_of
from app.db.rows import changed_rows
from app.db.trigger_terms import USER_LIMIT
from app.models.limit import LimitPlace
from app.models.task import Held, Task, TaskStatus
from app.models.task_moves import HELD_BY_LIMIT

_TASKS = Base.metadata.tables[Task.__tablename__]
_PLACES = Base.metadata.tables[LimitPlace.__tablename__]
_PENDING = _TASKS.c.status == TaskStatus.PENDING.value
OF_USERS = of_limit(USER_LIMIT)
_SALT = 7315624


class HeldRow(NamedTuple):
    """A row that waits for a place of its user; `place` is that of its line, from 1."""

    id: UUID
    user: str
    queue: str
    celery_task_name: str
    place: int


# Has its user's place and may wait for that of a limit.
HAS_PLACE = or_(_TASKS.c.held.is_(None), is_held(Held.LIMIT), is_held(Held.LIMIT_KEY))


def lock(db: Session, users: Collection[str]) -> None:
    """Lock these users until the commit against other admissions, in one order for all transactions."""
    of = (
        func.unnest(bindparam("p_users", type_=TextList)).table_valued(column("user", Text), name="of").render_derived()
    )
    key = func.hashtextextended(of.c.user, literal_column(str(_SALT), Integer))
    db.execute(select(func.pg_advisory_xact_lock(key)), {"p_users": sorted(users)})


def usage(db: Session, users: Collection[str]) -> dict[str, Usage]:
    """The places of each of these users that has any."""
    counts = select(_PLACES.c.limit_key, func.count(), func.count().filter(UNCLAIMED))
    of_users = counts.where(OF_USERS, is_one_of(_PLACES.c.limit_key, "p_users"), TAKEN)
    found = db.execute(of_users.group_by(_PLACES.c.limit_key), {"p_users": list(users)})
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
    row = next_of_line(lines, Held.USER, SIZES[-1], _TASKS.c.user_id == users.c.user_id)
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
    return OF_USERS & (_PLACES.c.limit_key == func.any(literal(list(users), TextList)))


def without_use() -> ColumnElement[bool]:
    """The places of users that no claim will take: the task was ended, deleted or changed while it waited.

    Only true while the users are locked.
    """
    waits = select(_TASKS.c.id).where(
        _TASKS.c.id == _PLACES.c.task_id,
        _PENDING,
        HAS_PLACE,
        _TASKS.c.turn.is_not(None),
        _TASKS.c.user_limited,
        _TASKS.c.attempt + 1 == _PLACES.c.attempt,
    )
    # With a limit, which the planner cannot turn into a join that reads all tasks.
    row = waits.limit(literal_column("1", Integer)).correlate(_PLACES).scalar_subquery()
    return UNCLAIMED & row.is_(None)


def users_at_hand(db: Session) -> list[str]:
    """The users who have places that no claim has taken, or tasks that wait for one: an index lookup for each."""
    places = select(_PLACES.c.limit_key).where(OF_USERS, UNCLAIMED, TAKEN).distinct()
    users = waiting_values(_TASKS.c.user_id, Held.USER)
    waiting = db.scalars(select(cast(users.c.value, Text)).where(users.c.value.is_not(None)))
    return sorted({*db.scalars(places), *waiting})


def is_used(db: Session) -> bool:
    """Whether any user has a place, or a task that waits for one."""
    place = exists().where(OF_USERS, TAKEN)
    waits = exists().where(_PENDING, _TASKS.c.turn.is_not(None), is_held(Held.USER))
    return bool(db.scalar(select(or_(place, waits))))


# -- rows from before the quota, and after it --------------------------------------------------------------------------


def hold_due(db: Session, number: int) -> int:
    """Have a batch of the tasks that get their turns now wait for a place, which were made without the quota."""
    due = (_PENDING, _TASKS.c.turn.is_(None), _TASKS.c.due_at <= STATEMENT_TIME, _TASKS.c.user_limited.is_not(True))
    held = case((is_held(Held.NAME), Held.NAME.value), else_=Held.USER.value)
    return _change(db, number, {"user_limited": True, "held": held}, [_TASKS.c.due_at], *due)


def hold_without_place(db: Session, number: int) -> int:
    """Have a batch of the tasks wait for a place that neither wait nor have one. Returns how many.

    Reads the ready rows, of which only those with places are left, and those that wait for limits.
    """
    place = exists().where(_PLACES.c.task_id == _TASKS.c.id, _PLACES.c.attempt == _TASKS.c.attempt + 1, OF_USERS, TAKEN)
    lacking = (_PENDING, _TASKS.c.turn.is_not(None), or_(_TASKS.c.user_limited.is_not(True), ~place))
    values = {"user_limited": True, "held": Held.USER.value}
    ready = _change(db, number, values, [_TASKS.c.queue], *lacking, _TASKS.c.held.is_(None))
    in_line = _change(db, number, values, [_TASKS.c.limit], *lacking, is_held(Held.LIMIT))
    keys = [_TASKS.c.limit, _TASKS.c.limit_key]
    of_keys = _change(db, number, values, keys, *lacking, is_held(Held.LIMIT_KEY), _TASKS.c.limit_key.is_not(None))
    return max(ready, in_line, of_keys)


def release_held(db: Session, number: int) -> int:
    """Let a batch of the tasks go on that wait for a place of their user. Returns how many."""
    values = {
        "user_limited": None,
        "held": HELD_BY_LIMIT,
        "turn": func.greatest(_TASKS.c.turn, clock_of(_TASKS)),
    }
    # A prefix of the index would do for another one too, in which the released rows stay.
    order = [_TASKS.c[name] for name in ("user_id", "queue", "priority", "turn")]
    return _change(db, number, values, order, _PENDING, _TASKS.c.turn.is_not(None), is_held(Held.USER))


def _change(
    db: Session, number: int, values: dict[str, Any], order: Sequence[ColumnElement[Any]], *which: ColumnElement[bool]
) -> int:
    # In the order of a partial index: else PostgreSQL may read the whole table for each batch.
    first = select(_TASKS.c.id).where(*which).order_by(*order).limit(number)
    rows = first.with_for_update(of=_TASKS, skip_locked=True).cte("batch")
    return changed_rows(db.execute(update(_TASKS).where(_TASKS.c.id == rows.c.id).values(values)))
