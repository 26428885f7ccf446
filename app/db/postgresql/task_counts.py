"""Exact numbers of tasks: ended ones from the kept sums (`app/models/task_count.py`), others from their indexes."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Table, TextClause, func, literal, select, text, union_all
from sqlalchemy.orm import Session

from app.db.postgresql import task_time_counts, waiting
from app.db.postgresql.stats import bucket_of, step_of
from app.db.postgresql.task_filter import conditions, of_kind, of_rows
from app.db.rows import changed_rows
from app.models.error_group import ErrorGroup
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
    )) RETURNING {_BY}, number, ended_at, waited, ran, error, error_type, error_message
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
SELECT (SELECT count(*) FROM taken), statement_timestamp(), told.* FROM (SELECT 1) AS once LEFT JOIN (
    SELECT {_BY}, {step_of("ended_at")}, {bucket_of("waited")}, {bucket_of("ran")}, error,
        sum(number)::bigint, count(ended_at), min(ended_at), max(ended_at), max(error_type), max(error_message)
    FROM taken WHERE ended_at IS NOT NULL OR error IS NOT NULL
    GROUP BY {_BY}, {step_of("ended_at")}, {bucket_of("waited")}, {bucket_of("ran")}, error
) AS told ON true
""")  # noqa: S608 (names of columns)  # nosec B608


def _forget(table: str, sum_: str = "number") -> TextClause:
    rows = f"SELECT ctid FROM {table} WHERE {sum_} = 0 LIMIT {FORGET_BATCH} FOR UPDATE SKIP LOCKED"  # noqa: S608  # nosec B608
    return text(f"DELETE FROM {table} WHERE ctid = ANY(ARRAY({rows})) AND {sum_} = 0")  # noqa: S608  # nosec B608


_FORGET = (_forget("task_counts"), _forget("task_totals"), _forget("stored_bytes", "bytes"))


class Ended(NamedTuple):
    """Changes that are alike, added up: of tasks that have ended, and of tasks that are failed or no longer failed."""

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
    first_end: datetime | None
    last_end: datetime | None
    error_type: str | None
    error_message: str | None


class Folded(NamedTuple):
    """How many changes were taken, the time now, and what they say besides."""

    taken: int
    now: datetime
    ended: list[Ended]


def fold(db: Session, limit: int) -> Folded:
    """Add a batch of at most `limit` changes to the sums."""
    rows = db.execute(_FOLD, {"batch": limit}).all()
    taken, now, *_ = rows[0]
    return Folded(taken, now, [Ended(*row[2:]) for row in rows if row[2] is not None])


def forget_zeros(db: Session) -> int:
    """Delete a batch of the sums that are 0, such as those of deleted users: FORGET_BATCH of each table at most.

    Returns how many in all.
    """
    return sum(changed_rows(db.execute(statement)) for statement in _FORGET)


def count_by_status(db: Session, wanted: TaskFilter) -> dict[str, int]:
    """How many tasks there are of each status that has any. Exact: one statement, one snapshot."""
    if wanted == TaskFilter(error=wanted.error, user_id=wanted.user_id, status=wanted.status) and wanted.error:
        statement = _added_up([*_of_error(wanted)])
    elif not of_rows(wanted):
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


def _of_error(wanted: TaskFilter) -> Iterator[Select[*tuple[Any, ...]]]:
    """The tasks that are failed with this error: the number of its group and the changes not folded yet."""
    failed = literal(TaskStatus.FAILED.value).label("status")
    statuses = set(wanted.status) or set(TaskStatus)
    changes = task_count_changes.c
    for table, fingerprint, number in (
        (ErrorGroup.__table__, ErrorGroup.fingerprint, ErrorGroup.number.label("number")),
        (task_count_changes, changes.error, changes.number),
    ):
        of_error = [fingerprint == wanted.error, literal(TaskStatus.FAILED in statuses)]
        if wanted.user_id is not None:
            of_error.append(table.c.user_id == wanted.user_id)
        yield select(failed, number).where(*of_error)


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
