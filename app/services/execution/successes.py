"""Attempts that end in success together: one statement for many of them, each fenced as in `attempts.succeed`."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from app.db.sql import attempts as statements


class Success(NamedTuple):
    """An attempt that has succeeded; `result` as its JSON text, None for none; `begun_after` as in `attempts`.

    `is_limited`: it has a place to free.
    """

    task_id: UUID
    attempt: int
    result: str | None
    begun_after: float = 0.0
    is_limited: bool = False


def succeed_together(db: statements.Executor, successes: Sequence[Success]) -> set[UUID]:
    """`succeed` for several tasks in one statement. Returns the ids of those whose attempt still held them."""
    return statements.succeed_together(db, [success[:4] for success in successes])
