"""Folding the changes into the kept sums (`app/models/task_count.py`), and counting what waits, by its reason."""

from sqlalchemy import TextClause, func, select, text
from sqlalchemy.orm import Session

from app.db.postgresql import waiting
from app.db.postgresql.stats import bucket_of, step_of
from app.db.postgresql.task_filter import conditions
from app.db.rows import changed_rows
from app.models.task import Task, TaskStatus, WaitingReason
from app.models.task_count import COUNTED_UNDER, FORGET_BATCH, Ended, Folded
from app.models.task_filter import TaskFilter

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


def count_by_reason(db: Session, wanted: TaskFilter) -> dict[WaitingReason, int]:
    """How many of the pending tasks wait for each reason. Reads each of them."""
    reason = waiting.reason().label("reason")
    pending = (Task.status == TaskStatus.PENDING.value, *conditions(wanted))
    rows = db.execute(select(reason, func.count()).where(*pending).group_by(reason))
    return {WaitingReason(name): int(number) for name, number in rows}
