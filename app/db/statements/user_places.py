"""Places of users, which tasks need while QUOTA_RUNNING_TASKS is set: a place is a row as that of a limit.

Who gives places of users, or takes them away, locks these users first (`lock`). So one admission of a user runs at a
time, and what it counts stays true until its commit.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Integer, and_, bindparam, case, func, literal_column, or_, select
from sqlalchemy.orm import Session

from app.core.engines import POSTGRESQL
from app.db.statements.expressions import greatest
from app.db.statements.held_tasks import (
    change_found,
    has_place_of,
    lines_with_rows,
    next_rows,
    waiting_values,
    waits_for,
)
from app.db.statements.limit_places import (
    DUE_WITHOUT_QUOTA,
    HAS_USER_PLACE,
    HELD_FOR_USER,
    OF_USERS,
    TAKEN,
    UNCLAIMED,
    HeldRowOfUser,
    Usage,
    user_places_are_used,
)
from app.db.statements.limits import give_places, is_waited_for
from app.db.statements.pending_rows import LOOK_SIZES, PENDING, Lines, clock_of, is_held
from app.db.statements.tables import PLACES, TASKS, USER_TURNS
from app.db.statements.task_moves import HELD_BY_LIMIT
from app.db.statements.writes import engine_name, upsert
from app.ddl.columns import TextList
from app.ddl.terms import USER_LIMIT
from app.models.task import Held
from app.models.user import User

_SALT = 7315624


def lock(db: Session, users: Collection[str]) -> None:
    """Lock these users until the commit against other admissions, in one order for all transactions.

    What is locked is a number on PostgreSQL, and a row of each in `user_turns` elsewhere, of a line that no queue can
    have: by the user's own row, submits would be locked out as well, whose foreign keys share it. A user who is gone
    has no row, and needs no lock.
    """
    if engine_name(db) == POSTGRESQL:
        # In the order of the list. Processes of an earlier release lock the same numbers.
        of = func.unnest(bindparam("p_users", type_=TextList)).column_valued("of_user")
        number = func.hashtextextended(of, literal_column(str(_SALT), Integer))
        db.execute(select(func.pg_advisory_xact_lock(number)), {"p_users": sorted(users)})
        return
    found = db.scalars(select(User.id).where(User.id.in_([UUID(user) for user in users]))).all()
    row = {"queue": USER_LIMIT, "priority": "", "last": 0.0, "clock": 0.0}
    # Locks what is there, too.
    upsert(db, USER_TURNS, [{"user_id": user_id, **row} for user_id in sorted(found)])


def usage(db: Session, users: Collection[str]) -> dict[str, Usage]:
    """The places of each of these users that has any."""
    counts = select(PLACES.c.limit_key, func.count(), func.count(case((UNCLAIMED, 1))))
    found = db.execute(counts.where(of_users(users), TAKEN).group_by(PLACES.c.limit_key))
    return {user: Usage(taken, ahead, ahead) for user, taken, ahead in found}


def next_held(db: Session, lines: Lines, rooms: Mapping[str, int]) -> list[HeldRowOfUser]:
    """The next rows of each of these users that wait for a place, locked: as many as the user has room for."""
    owners = [{"user_id": UUID(user)} for user in rooms]
    looks = zip(rooms.items(), owners, lines_with_rows(db, lines, Held.USER, owners), strict=True)
    return [
        HeldRowOfUser(row.id, user, row.queue, row.celery_task_name, row.place)
        for (user, room), owner, places in looks
        for row in next_rows(db, lines, Held.USER, owner, places, min(room, LOOK_SIZES[-1]))
    ]


def admit(db: Session, ids: Sequence[UUID]) -> list[tuple[str, str | None]]:
    """Give each of these rows a place. Returns the queue and the limit of each; with a limit it waits for that now."""
    rows = give_places(db, ids, HELD_BY_LIMIT, USER_LIMIT, "user_id", is_held(Held.USER))
    return [(row.queue, row.limit) for row in rows]


def of_users(users: Collection[str]) -> ColumnElement[bool]:
    """The places of these users."""
    return and_(OF_USERS, PLACES.c.limit_key.in_(users))


def without_use() -> ColumnElement[bool]:
    """The places of users that no claim will take: the task was ended, deleted or changed while it waited.

    Only true while the users are locked.
    """
    return and_(UNCLAIMED, ~is_waited_for(HAS_USER_PLACE, TASKS.c.user_limited.is_(True)))


def users_at_hand(db: Session) -> list[str]:
    """The users who have places that no claim has taken, or tasks that wait for one: an index lookup for each."""
    places = select(PLACES.c.limit_key).where(OF_USERS, UNCLAIMED, TAKEN).distinct()
    return sorted({*db.scalars(places), *map(str, waiting_values(db, TASKS.c.user_id, Held.USER))})


def is_used(db: Session) -> bool:
    """Whether any user has a place, or a task that waits for one."""
    return bool(db.scalar(select(user_places_are_used())))


# -- Rows from before the quota, and after it --------------------------------------------------------------------------


def hold_due(db: Session, number: int) -> int:
    """Have a batch of the tasks that get their turns now wait for a place, which were made without the quota."""
    return _change(db, number, HELD_FOR_USER, [TASKS.c.due_at], PENDING, *DUE_WITHOUT_QUOTA)


def hold_without_place(db: Session, number: int) -> int:
    """Have a batch of the tasks wait for a place that neither wait nor have one. Returns how many.

    Reads the ready rows, of which only those with places are left, and those that wait for limits.
    """
    lacking = (PENDING, TASKS.c.turn.is_not(None), or_(TASKS.c.user_limited.is_not(True), ~has_place_of(OF_USERS)))
    values = {"user_limited": True, "held": Held.USER.value}
    ready = _change(db, number, values, [TASKS.c.queue], *lacking, TASKS.c.held.is_(None))
    in_line = _change(db, number, values, [TASKS.c.limit], *lacking, is_held(Held.LIMIT))
    keys = [TASKS.c.limit, TASKS.c.limit_key]
    of_keys = _change(db, number, values, keys, *lacking, is_held(Held.LIMIT_KEY), TASKS.c.limit_key.is_not(None))
    return max(ready, in_line, of_keys)


def release_held(db: Session, number: int) -> int:
    """Let a batch of the tasks go on that wait for a place of their user. Returns how many."""
    values = {"user_limited": None, "held": HELD_BY_LIMIT, "turn": greatest(TASKS.c.turn, clock_of(TASKS))}
    # A prefix of the index would do for another one too, in which the released rows stay.
    order = [TASKS.c[name] for name in ("user_id", "queue", "priority", "turn")]
    return _change(db, number, values, order, *waits_for(Held.USER))


def _change(
    db: Session, number: int, values: dict[str, Any], order: Sequence[ColumnElement[Any]], *which: ColumnElement[bool]
) -> int:
    # In the order of a partial index: else PostgreSQL may read the whole table for each batch.
    ids = db.scalars(select(TASKS.c.id).where(*which).order_by(*order).limit(number)).all()
    return change_found(db, ids, values, *which)
