"""What one user's tasks may do on the outside in a day, counted in the database and so over all workers.

A task names its limit with the option `daily_limit`. Each attempt is counted before its body runs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.db.sql import counts
from app.errors import DailyLimitReached


def _one(*_: Any, **__: Any) -> int:
    return 1


@dataclass(frozen=True)
class DailyLimit:
    """`what` is counted in plain words; `setting` is the name of the setting that holds a user's limit (0: none).

    `amount` is called with the body's arguments, and returns by how much the attempt counts.
    """

    what: str
    setting: str
    amount: Callable[..., int] = _one


OUTBOUND_REQUESTS = DailyLimit("outbound requests", "outbound_requests_per_day")


def count(db: counts.Executor, task_id: UUID, what: str, amount: int, limit: int) -> None:
    """Count `amount` more for the task's owner. Raises DailyLimitReached if the day's sum would exceed `limit`."""
    if not counts.count_for_owner(db, task_id, what, amount, limit):
        raise DailyLimitReached(f"{limit} {what} a day are the limit of each user; the day ends at 00:00 UTC")
