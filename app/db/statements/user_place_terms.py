"""Places of users, and the rows that wait for them."""

from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, case, exists, or_

from app.db.statements.held_rows import PENDING, is_held
from app.db.statements.limit_places import TAKEN, of_limit
from app.db.statements.tables import TASKS
from app.ddl.clock import STATEMENT_TIME
from app.ddl.trigger_terms import USER_LIMIT
from app.models.task import Held

OF_USERS = of_limit(USER_LIMIT)
# Has its user's place and may wait for that of a limit.
HAS_PLACE = or_(TASKS.c.held.is_(None), is_held(Held.LIMIT), is_held(Held.LIMIT_KEY))

# Tasks that get their turns now and were made without the quota, and what has them wait for a place.
DUE_WITHOUT_QUOTA = (TASKS.c.turn.is_(None), TASKS.c.due_at <= STATEMENT_TIME, TASKS.c.user_limited.is_not(True))
HELD_FOR_USER = {"user_limited": True, "held": case((is_held(Held.NAME), Held.NAME.value), else_=Held.USER.value)}


def are_used() -> ColumnElement[bool]:
    """The condition that any user has a place, or a task that waits for one."""
    return or_(exists().where(OF_USERS, TAKEN), exists().where(PENDING, is_held(Held.USER), TASKS.c.turn.is_not(None)))


class HeldRow(NamedTuple):
    """A row that waits for a place of its user; `place` is that of its line, from 1."""

    id: UUID
    user: str
    queue: str
    celery_task_name: str
    place: int
