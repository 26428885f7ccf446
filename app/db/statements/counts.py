"""Numbers that are kept: of tasks by kind and time, for `/metrics`, and of what a user has used in a day.

Triggers note each change of a number; it is folded into the sums. Each submit adds rows, which are taken away.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Table, select, update
from sqlalchemy.orm import Session

from app.core.duration_buckets import bucket_of
from app.db.statements.batches import take_rows
from app.db.statements.tables import DAILY_COUNTS
from app.db.statements.writes import changed_rows, upsert
from app.db.transactions import Executor, Transaction, atomically
from app.ddl.clock import NOW, STATEMENT_TIME
from app.ddl.terms import ENDED_TASKS
from app.models import task_count
from app.models.task import Task, TaskStatus
from app.models.task_stats import SHORTEST_STEP, SUBMITTED, begin_of_step, task_submissions

Rows = Sequence[dict[str, Any]]


def take_submissions(db: Session, limit: int) -> Sequence[Any]:
    """Take at most `limit` rows of new tasks away.

    Returns their sums: the time now, how many rows, the user, the begin of the shortest step, SUBMITTED, the number.
    """
    sums: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0])
    for row in take_rows(db, task_submissions, limit):
        of_kind = sums[row.user_id, begin_of_step(row.at, SHORTEST_STEP), *(getattr(row, name) for name in SUBMITTED)]
        of_kind[0] += 1
        of_kind[1] += row.number
    now = db.execute(select(STATEMENT_TIME)).scalar_one()
    return [(now, rows, *of_kind, number) for of_kind, (rows, number) in sums.items()]


def add_numbers(db: Session, table: Table, rows: Rows) -> None:
    """Add the numbers of these rows to those of the table: what is no key. Each row has all columns.

    The rows stand in the same order for all callers, so that two at once do not deadlock.
    """
    numbers = [column.name for column in table.c if not column.primary_key]
    upsert(db, table, rows, lambda old, new: {name: old[name] + new[name] for name in numbers})


# -- Folding the changes into the kept sums (`app/models/task_count.py`) -----------------------------------------------

Key = tuple[Any, ...]


def fold_changes(db: Session, limit: int) -> task_count.Folded:
    """Add a batch of at most `limit` changes to the sums, and their bytes to `stored_bytes`.

    In one transaction, so that a reader sees each change once: among the changes, or in the sums.
    """
    kinds, totals, stored = Counter[Key](), Counter[Key](), Counter[Key]()
    told: dict[Key, list[Any]] = {}
    rows = take_rows(db, task_count.task_count_changes, limit)
    for row in rows:
        kind = tuple(getattr(row, name) for name in task_count.COUNTED_UNDER)
        kinds[kind] += row.number
        totals[row.user_id, row.status] += row.number
        stored[row.user_id, ENDED_TASKS] += row.bytes
        if row.ended_at is not None or row.error is not None or row.status == TaskStatus.PENDING:
            alike = (_step(row.ended_at), _bucket(row.waited), _bucket(row.ran), row.error)
            told.setdefault((*kind, *alike), []).append(row)
    _add_to_sums(db, task_count.task_counts, task_count.COUNTED_UNDER, kinds)
    _add_to_sums(db, task_count.task_totals, ("user_id", "status"), totals)
    _add_to_sums(db, task_count.stored_bytes, ("user_id", "kind"), stored)
    now = db.execute(select(STATEMENT_TIME)).scalar_one()
    return task_count.Folded(
        len(rows), now, [task_count.Ended._make((*alike, *_summed(of_it))) for alike, of_it in told.items()]
    )


def _step(ended_at: datetime | None) -> datetime | None:
    return None if ended_at is None else begin_of_step(ended_at, SHORTEST_STEP)


def _bucket(seconds: float | None) -> int | None:
    return None if seconds is None else bucket_of(seconds)


def _summed(rows: Sequence[Any]) -> Key:
    """Return the fields of Ended that are not the same in all of these changes."""
    ends = [row.ended_at for row in rows if row.ended_at is not None]
    texts = (
        max((text for row in rows if (text := getattr(row, name)) is not None), default=None)
        for name in ("error_type", "error_message")
    )
    number = sum(row.number for row in rows)
    waited, ran = (sum(getattr(row, name) or 0.0 for row in rows) for name in ("waited", "ran"))
    return number, len(ends), len(rows), waited, ran, min(ends, default=None), max(ends, default=None), *texts


def _add_to_sums(db: Session, table: Table, names: Sequence[str], numbers: Counter[Key]) -> None:
    """Add these numbers, by the values of the columns `names`."""
    (sum_,) = (column.name for column in table.c if not column.primary_key)
    rows = [{**dict(zip(names, key, strict=True)), sum_: number} for key, number in sorted(numbers.items()) if number]
    add_numbers(db, table, rows)


# -- Daily counts: a row that is inserted where it is missing, and counts only within a limit --------------------------


def count_for_owner(db: Executor, task_id: UUID, what: str, amount: int, limit: int) -> bool:
    """Add `amount` to what the task's owner has used today. Returns False, and adds nothing, beyond the limit."""

    def count(db: Transaction) -> bool:
        owner = db.execute(select(Task.user_id, NOW).where(Task.id == task_id)).one_or_none()
        if owner is None or amount > limit:
            return False
        key = {"user_id": owner[0], "what": what, "day": owner[1].astimezone(UTC).date()}
        upsert(db, DAILY_COUNTS, [{**key, "used": 0}])
        used = DAILY_COUNTS.c.used + amount
        within = [DAILY_COUNTS.c[name] == value for name, value in key.items()]
        return changed_rows(db.execute(update(DAILY_COUNTS).where(*within, used <= limit).values(used=used))) > 0

    return atomically(db, count)
