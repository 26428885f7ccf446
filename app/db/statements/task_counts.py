"""Folding the changes into the kept sums (`app/models/task_count.py`)."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Table, select
from sqlalchemy.orm import Session

from app.core.duration_buckets import bucket_of
from app.db.statements.some_rows import take
from app.db.statements.upserting import upsert
from app.ddl.clock import STATEMENT_TIME
from app.ddl.sizes import ENDED_TASKS
from app.models.task import TaskStatus
from app.models.task_count import (
    COUNTED_UNDER,
    Ended,
    Folded,
    stored_bytes,
    task_count_changes,
    task_counts,
    task_totals,
)
from app.models.task_stats import SHORTEST_STEP, begin_of_step

Key = tuple[Any, ...]


def fold(db: Session, limit: int) -> Folded:
    """Add a batch of at most `limit` changes to the sums, and their bytes to `stored_bytes`.

    In one transaction, so that a reader sees each change once: among the changes, or in the sums.
    """
    kinds, totals, stored = Counter[Key](), Counter[Key](), Counter[Key]()
    told: dict[Key, list[Any]] = {}
    rows = take(db, task_count_changes, limit)
    for row in rows:
        kind = tuple(getattr(row, name) for name in COUNTED_UNDER)
        kinds[kind] += row.number
        totals[row.user_id, row.status] += row.number
        stored[row.user_id, ENDED_TASKS] += row.bytes
        if row.ended_at is not None or row.error is not None or row.status == TaskStatus.PENDING:
            alike = (_step(row.ended_at), _bucket(row.waited), _bucket(row.ran), row.error)
            told.setdefault((*kind, *alike), []).append(row)
    _add(db, task_counts, COUNTED_UNDER, kinds)
    _add(db, task_totals, ("user_id", "status"), totals)
    _add(db, stored_bytes, ("user_id", "kind"), stored)
    now = db.execute(select(STATEMENT_TIME)).scalar_one()
    return Folded(len(rows), now, [Ended._make((*alike, *_summed(of_it))) for alike, of_it in told.items()])


def _step(ended_at: datetime | None) -> datetime | None:
    return None if ended_at is None else begin_of_step(ended_at, SHORTEST_STEP)


def _bucket(seconds: float | None) -> int | None:
    return None if seconds is None else bucket_of(seconds)


def _summed(rows: Sequence[Any]) -> Key:
    """The fields of Ended that are not the same in all of these changes."""
    ends = [row.ended_at for row in rows if row.ended_at is not None]
    texts = (
        max((text for row in rows if (text := getattr(row, name)) is not None), default=None)
        for name in ("error_type", "error_message")
    )
    number = sum(row.number for row in rows)
    waited, ran = (sum(getattr(row, name) or 0.0 for row in rows) for name in ("waited", "ran"))
    return number, len(ends), len(rows), waited, ran, min(ends, default=None), max(ends, default=None), *texts


def _add(db: Session, table: Table, names: Sequence[str], numbers: Counter[Key]) -> None:
    """Add these numbers, by the values of the columns `names`. Sorted, so that two folds at once do not deadlock."""
    (sum_,) = (column.name for column in table.c if not column.primary_key)
    rows = [
        {**dict(zip(names, key, strict=True)), sum_: number}
        for key, number in sorted(numbers.items())
        if number
    ]  # fmt: skip
    upsert(db, table, rows, lambda old, new: {sum_: old[sum_] + new[sum_]})
