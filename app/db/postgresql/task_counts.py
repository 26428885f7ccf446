"""Exact numbers of tasks: ended ones from the kept sums (`app/models/task_count.py`), others from their indexes."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, TextClause, func, literal, select, text, union_all
from sqlalchemy.orm import Session

from app.db.postgresql import task_time_counts, waiting
from app.db.postgresql.task_filter import conditions, of_kind, of_rows
from app.models.task import ACTIVE, TERMINAL, Task, TaskStatus, WaitingReason
from app.models.task_count import COUNTED_UNDER, KIND, task_count_changes, task_counts, task_totals
from app.models.task_filter import TaskFilter

FORGET_BATCH = 1000

_BY = ", ".join(COUNTED_UNDER)
# One statement, so that a reader sees each change once: among the changes, or in the sums. Sorted, so that two folds at
# once do not deadlock.
_FOLD = text(f"""
WITH taken AS (
    DELETE FROM task_count_changes WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM task_count_changes LIMIT :batch FOR UPDATE SKIP LOCKED
    )) RETURNING {_BY}, number
), kinds AS (
    INSERT INTO task_counts ({_BY}, number)
    SELECT {_BY}, sum(number) FROM taken GROUP BY {_BY} HAVING sum(number) <> 0 ORDER BY {_BY}
    ON CONFLICT (user_id, task_type, celery_task_name, priority, queue, status)
    DO UPDATE SET number = task_counts.number + excluded.number
), totals AS (
    INSERT INTO task_totals (user_id, status, number)
    SELECT user_id, status, sum(number) FROM taken GROUP BY 1, 2 HAVING sum(number) <> 0 ORDER BY 1, 2
    ON CONFLICT (user_id, status) DO UPDATE SET number = task_totals.number + excluded.number
)
SELECT count(*) FROM taken
""")  # noqa: S608 (names of columns)  # nosec B608


def _forget(table: str, sum_: str = "number") -> TextClause:
    rows = f"SELECT ctid FROM {table} WHERE {sum_} = 0 LIMIT {FORGET_BATCH} FOR UPDATE SKIP LOCKED"  # noqa: S608  # nosec B608
    return text(f"DELETE FROM {table} WHERE ctid = ANY(ARRAY({rows})) AND {sum_} = 0")  # noqa: S608  # nosec B608


_FORGET = (_forget("task_counts"), _forget("task_totals"), _forget("stored_bytes", "bytes"))


def fold(db: Session, limit: int) -> int:
    """Add a batch of at most `limit` changes to the sums. Returns how many."""
    taken: int = db.execute(_FOLD, {"batch": limit}).scalar_one()
    return taken


def forget_zeros(db: Session) -> None:
    """Delete a batch of the sums that are 0, such as those of deleted users."""
    for statement in _FORGET:
        db.execute(statement)


def count_by_status(db: Session, wanted: TaskFilter) -> dict[str, int]:
    """How many tasks there are of each status that has any. Exact: one statement, one snapshot."""
    if not of_rows(wanted):
        statement = _added_up([*_ended(wanted), *_active(wanted)])
    elif task_time_counts.serves(wanted):
        statement = _added_up([*_within_time(db, wanted)])
    else:
        statement = _from_rows(wanted)
    return {str(status): int(number) for status, number in db.execute(statement)}


def count_by_reason(db: Session, wanted: TaskFilter) -> dict[WaitingReason, int]:
    """How many of the pending tasks wait for each reason. Reads each of them."""
    reason = waiting.reason().label("reason")
    pending = (Task.status == TaskStatus.PENDING.value, *conditions(wanted))
    rows = db.execute(select(reason, func.count()).where(*pending).group_by(reason))
    return {WaitingReason(name): int(number) for name, number in rows}


def _from_rows(wanted: TaskFilter) -> Select[*tuple[Any, ...]]:
    return select(Task.status, func.count()).where(*conditions(wanted)).group_by(Task.status)


def _added_up(parts: list[Select[*tuple[Any, ...]]]) -> Select[*tuple[Any, ...]]:
    numbers = union_all(*parts).subquery()
    return select(numbers.c.status, func.sum(numbers.c.number)).group_by(numbers.c.status)


def _within_time(db: Session, wanted: TaskFilter) -> Iterator[Select[*tuple[Any, ...]]]:
    """Those inside the times. Where that reads fewer rows: of the ended tasks, all minus those outside."""
    statuses = set(wanted.status) or set(TaskStatus)
    ended = replace(wanted, status=sorted(statuses & TERMINAL))
    if not ended.status or not task_time_counts.holds_most(db, wanted):
        yield from task_time_counts.inside(wanted)
        return
    yield from _ended(ended)
    for rest in task_time_counts.outside(ended):
        yield from task_time_counts.inside(rest, -1)
    if active := sorted(statuses & ACTIVE):
        yield from task_time_counts.inside(replace(wanted, status=active))


def _ended(wanted: TaskFilter) -> Iterator[Select[*tuple[Any, ...]]]:
    for table in (task_counts if of_kind(wanted) else task_totals, task_count_changes):
        yield select(table.c.status, table.c.number).where(*counted(table, wanted))


def counted(table: Table, wanted: TaskFilter) -> list[ColumnElement[bool]]:
    """The conditions of the filter on a table of numbers."""
    found = [
        table.c[name] == value for name in ("user_id", *KIND) if (value := getattr(wanted, name)) is not None
    ]  # fmt: skip
    return [*found, table.c.status.in_(sorted(set(wanted.status)))] if wanted.status else found


def _active(wanted: TaskFilter) -> Iterator[Select[*tuple[Any, ...]]]:
    # One SELECT for each status: only then does PostgreSQL use the index of these few rows.
    for status in sorted(ACTIVE & set(wanted.status) if wanted.status else ACTIVE):
        rest = conditions(wanted, status=False)
        number = func.count().label("number")
        yield select(literal(status.value).label("status"), number).where(Task.status == status, *rest)
