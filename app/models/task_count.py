"""How many tasks have ended, kept as numbers that are exact at every moment (docs/adr/0026).

A trigger adds one row to `task_count_changes` for each task that ends (+1), and for each ended task that is retried or
deleted (-1), in the transaction of that change: no transaction waits for a shared row. Maintenance folds these rows
into the two tables of sums, in one statement. In any snapshot a number is its sum plus the changes not yet folded.

An attempt that is tried again has a row of its task, pending, with the number 0: retries are counted by it.

If SQL by hand changes what an ended task is counted under, the trigger moves the count.
"""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import BigInteger, Column, Integer, Table

from app.ddl import engines, indexes
from app.ddl.columns import Base, Double, Id, LongText, ShortText, UTCDateTime, Word
from app.ddl.indexes import SHORT_LIVED_ROWS
from app.ddl.terms import KIND

__all__ = [
    "COUNTED_UNDER",
    "KIND",
    "Ended",
    "Folded",
    "stored_bytes",
    "task_count_changes",
    "task_counts",
    "task_totals",
]

COUNTED_UNDER = ("user_id", "status", *KIND)
_KINDS: dict[str, Any] = {"user_id": Id, "status": Word, "priority": Word}


def _key(*names: str, primary_key: bool = True) -> list[Column[object]]:
    return [
        Column(name, _KINDS.get(name, ShortText), primary_key=primary_key, nullable=False)
        for name in names
    ]  # fmt: skip


# Ended tasks of one user and status: few rows, however many kinds of tasks there are.
task_totals = Table(
    "task_totals", Base.metadata, *_key("user_id", "status"), Column("number", BigInteger, nullable=False)
)
# By kind as well, for counts with filters.
task_counts = Table(
    "task_counts", Base.metadata, *_key("user_id", *KIND, "status"), Column("number", BigInteger, nullable=False)
)
# Not folded yet. No key and no index: the end of each task would pay for them.
task_count_changes = Table(
    "task_count_changes",
    Base.metadata,
    *_key(*COUNTED_UNDER, primary_key=False),
    Column("number", Integer, nullable=False),
    # What the tasks take (`app/ddl/terms.py`). A trigger adds it to `stored_bytes` when the row is folded.
    Column("bytes", BigInteger, nullable=False, server_default="0"),
    # Where the task has ended by this change: when, and in seconds how long it waited and ran, as far as that is known.
    Column("ended_at", UTCDateTime),
    Column("waited", Double),
    Column("ran", Double),
    # Of failed tasks.
    Column("error", Word),
    Column("error_type", LongText),
    Column("error_message", LongText),
    **SHORT_LIVED_ROWS,
)
indexes.add_mysql_columns(task_count_changes)
engines.install_triggers(task_count_changes, task_count_changes.name)

# What a user keeps, by kind; exact together with the bytes of the changes that are not folded. Kinds that are not of
# tasks have rows of their own.
stored_bytes = Table(
    "stored_bytes",
    Base.metadata,
    Column("user_id", Id, primary_key=True),
    Column("kind", Word, primary_key=True),
    Column("bytes", BigInteger, nullable=False),
)


class Ended(NamedTuple):
    """Changes that are alike, added up: of tasks that have ended, that are failed or no longer failed, and of retries.

    Those of retries have the status `pending` and number 0.
    """

    user_id: UUID
    status: str
    task_type: str
    celery_task_name: str
    priority: str
    queue: str
    # The begin of the shortest step; NULL for changes that are no end. And buckets of durations.
    at: datetime | None
    wait_bucket: int | None
    run_bucket: int | None
    error: str | None
    # By how much the number of ended tasks changes, and how many of the changes are ends.
    number: int
    ends: int
    # How many changes they are, and how many seconds these tasks have waited and run in all.
    changes: int
    waited: float
    ran: float
    first_end: datetime | None
    last_end: datetime | None
    error_type: str | None
    error_message: str | None


class Folded(NamedTuple):
    """How many changes were taken, the time now, and what they say besides."""

    taken: int
    now: datetime
    ended: list[Ended]
