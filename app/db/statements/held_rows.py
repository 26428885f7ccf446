"""Rows that no claim may take: those that wait for a place of a limit, and those that no live worker knows."""

from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Text, literal_column

from app.db.statements.tables import TASKS
from app.models.task import Held, TaskStatus

# How many rows of a limit are looked at together: the least of these that suffices. A statement for each on PostgreSQL,
# since a parameter as LIMIT is planned badly.
SIZES = (10, 100, 500)
# A pass for tasks that no live worker knows looks at so many rows at the front of each line, which is where they stand
# in the way of a claim.
FRONT = 500
# The value stands in the text, for the partial indexes.
PENDING: ColumnElement[bool] = TASKS.c.status == literal_column(f"'{TaskStatus.PENDING.value}'", Text)
# Of tasks with a place of their limit.
HAS_PLACE = TASKS.c.held.is_(None)


def is_held(held: Held) -> ColumnElement[bool]:
    """Whether a row is held by this. The value stands in the text, for the partial indexes."""
    return TASKS.c.held == literal_column(f"'{held.value}'", Text)


class Lines(NamedTuple):
    """Queues and priorities in the order in which a limit serves them."""

    queues: list[str]
    priorities: list[str]


class HeldRow(NamedTuple):
    """A row that waits for a place; `place` is that of its line, from 1."""

    id: UUID
    queue: str
    celery_task_name: str
    limit_key: str | None
    place: int
    turn: float


class AdmittedRow(NamedTuple):
    """A pending task that has a place, and the key under which the place stands."""

    id: UUID
    queue: str
    priority: str
    key: str | None
