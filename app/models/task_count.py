"""How many tasks have ended, kept as numbers that are exact at every moment (docs/adr/0026).

A trigger adds one row to `task_count_changes` for each task that ends (+1), and for each ended task that is retried or
deleted (-1), in the transaction of that change: no transaction waits for a shared row. Maintenance folds these rows
into the two tables of sums, in one statement. In any snapshot a number is its sum plus the changes not yet folded.

If SQL by hand changes what an ended task is counted under, the trigger moves the count.
"""

from sqlalchemy import BigInteger, Column, Float, Integer, Table, Text, Uuid

from app.db.base import Base, UTCDateTime
from app.db.postgresql.schema import triggers
from app.db.postgresql.schema.counts import KIND
from app.db.postgresql.schema.indexes import SHORT_LIVED_ROWS

__all__ = ["COUNTED_UNDER", "KIND", "stored_bytes", "task_count_changes", "task_counts", "task_totals"]

COUNTED_UNDER = ("user_id", "status", *KIND)


def _key(*names: str, primary_key: bool = True) -> list[Column[object]]:
    return [
        Column(name, Uuid() if name == "user_id" else Text(), primary_key=primary_key, nullable=False)
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
    # What the tasks take (`schema/sizes.py`). A trigger adds it to `stored_bytes` when the row is folded.
    Column("bytes", BigInteger, nullable=False, server_default="0"),
    # Where the task has ended by this change: when, and in seconds how long it waited and ran, as far as that is known.
    Column("ended_at", UTCDateTime),
    Column("waited", Float),
    Column("ran", Float),
    # Of failed tasks.
    Column("error", Text),
    Column("error_type", Text),
    Column("error_message", Text),
    **SHORT_LIVED_ROWS,
)
triggers.install_with(task_count_changes, task_count_changes.name)

# What a user keeps, by kind; exact together with the bytes of the changes that are not folded. Kinds that are not of
# tasks have rows of their own.
stored_bytes = Table(
    "stored_bytes",
    Base.metadata,
    Column("user_id", Uuid(), primary_key=True),
    Column("kind", Text(), primary_key=True),
    Column("bytes", BigInteger, nullable=False),
)
