"""Adding to the numbers by time and to the counters of `/metrics`, and taking the rows of new tasks away."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Table, select
from sqlalchemy.orm import Session

from app.db.statements.some_rows import take
from app.db.statements.upserting import upsert
from app.ddl.clock import STATEMENT_TIME
from app.models.task_stats import (
    SHORTEST_STEP,
    STAT_NUMBERS,
    SUBMITTED,
    SUM_NUMBERS,
    begin_of_step,
    task_durations,
    task_stats,
    task_submissions,
    task_sum_durations,
    task_sums,
)

Rows = Sequence[dict[str, Any]]


def take_submissions(db: Session, limit: int) -> Sequence[Any]:
    """Take at most `limit` rows of new tasks away.

    Returns their sums: the time now, how many rows, the user, the begin of the shortest step, SUBMITTED, the number.
    """
    sums: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0])
    for row in take(db, task_submissions, limit):
        of_kind = sums[row.user_id, begin_of_step(row.at, SHORTEST_STEP), *(getattr(row, name) for name in SUBMITTED)]
        of_kind[0] += 1
        of_kind[1] += row.number
    now = db.execute(select(STATEMENT_TIME)).scalar_one()
    return [(now, rows, *of_kind, number) for of_kind, (rows, number) in sums.items()]


def _add(db: Session, table: Table, numbers: Sequence[str], rows: Rows) -> None:
    upsert(db, table, rows, lambda old, new: {name: old[name] + new[name] for name in numbers})


def add_stats(db: Session, rows: Rows) -> None:
    """Add these numbers. Each row has all columns."""
    _add(db, task_stats, STAT_NUMBERS, rows)


def add_durations(db: Session, rows: Rows) -> None:
    """As `add_stats`, for durations."""
    _add(db, task_durations, ["number"], rows)


def add_sums(db: Session, rows: Rows) -> None:
    """As `add_stats`, to the counters of `/metrics`."""
    _add(db, task_sums, SUM_NUMBERS, rows)


def add_sum_durations(db: Session, rows: Rows) -> None:
    """As `add_stats`, to their durations."""
    _add(db, task_sum_durations, ["number", "seconds"], rows)
