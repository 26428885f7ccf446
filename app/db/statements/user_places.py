"""Places of users, which tasks need while QUOTA_RUNNING_TASKS is set: a place is a row as that of a limit.

Whoever gives places of users, or takes them away, locks these users first (`lock_users`). So one admission of a user
runs at a time, and what it counts stays true until its commit.
"""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Integer, bindparam, case, exists, func, literal_column, or_, select
from sqlalchemy.orm import Session

from app.core.engines import POSTGRESQL
from app.db.statements.expressions import greatest
from app.db.statements.limit_places import TAKEN, UNCLAIMED, has_place_of, of_limit
from app.db.statements.pending_rows import (
    HAS_PLACE,
    IS_HELD_OTHERWISE,
    PENDING,
    change_found,
    clock_of,
    is_held,
    waiting_values,
    waits_for,
)
from app.db.statements.tables import PLACES, TASKS, USER_TURNS
from app.db.statements.task_moves import HELD_BY_LIMIT
from app.db.statements.writes import engine_name, upsert
from app.ddl.clock import STATEMENT_TIME
from app.ddl.columns import TextList
from app.ddl.terms import USER_LIMIT
from app.models.task import Held
from app.models.user import User

_SALT = 7315624


def lock_users(db: Session, users: Collection[str]) -> None:
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


def users_at_hand(db: Session) -> list[str]:
    """The users who have places that no claim has taken, or tasks that wait for one: an index lookup for each."""
    places = select(PLACES.c.limit_key).where(of_limit(USER_LIMIT), UNCLAIMED, TAKEN).distinct()
    return sorted({*db.scalars(places), *map(str, waiting_values(db, TASKS.c.user_id, Held.USER))})


def are_used() -> ColumnElement[bool]:
    """Return whether any user has a place, or a task that waits for one."""
    return or_(exists().where(of_limit(USER_LIMIT), TAKEN), exists().where(*waits_for(Held.USER)))


# -- Rows from before the quota, and after it --------------------------------------------------------------------------


def hold_due(db: Session, number: int) -> int:
    """Have a batch of the tasks that get their turns now wait for a place, which were made without the quota."""
    values = {"user_limited": True, "held": case((is_held(Held.NAME), Held.NAME.value), else_=Held.USER.value)}
    due = (PENDING, TASKS.c.turn.is_(None), TASKS.c.due_at <= STATEMENT_TIME, TASKS.c.user_limited.is_not(True))
    return _change(db, number, values, [TASKS.c.due_at], *due, or_(HAS_PLACE, ~IS_HELD_OTHERWISE))


def hold_without_place(db: Session, number: int) -> int:
    """Have a batch of the tasks wait for a place that neither wait nor have one. Returns how many.

    Reads the ready rows, of which only those with places are left, and those that wait for limits.
    """
    lacking = (PENDING, TASKS.c.turn.is_not(None), or_(TASKS.c.user_limited.is_not(True), ~has_place_of(USER_LIMIT)))
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
