"""How many tasks have ended, kept as numbers that are exact at every moment (docs/adr/0026).

A trigger adds one row to `task_count_changes` for each task that ends (+1), and for each ended task that is retried or
deleted (-1), in the transaction of that change: no transaction waits for a shared row. Maintenance folds these rows
into the two tables of sums, in one statement. In any snapshot a number is its sum plus the changes not yet folded.

If SQL by hand changes what an ended task is counted under, the trigger moves the count.
"""

from sqlalchemy import BigInteger, Column, Integer, Table, Text, Uuid

from app.db.base import Base
from app.db.postgresql.schema.indexes import SHORT_LIVED_ROWS

KIND = ("task_type", "celery_task_name", "priority", "queue")
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
    **SHORT_LIVED_ROWS,
)
