"""Folding the changes into the kept sums (`app/models/task_count.py`)."""

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.db.postgresql.stats import bucket_of, step_of
from app.models.task_count import COUNTED_UNDER, Ended, Folded

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
        sum(number)::bigint, count(ended_at), count(*), coalesce(sum(waited), 0), coalesce(sum(ran), 0),
        min(ended_at), max(ended_at), max(error_type), max(error_message)
    FROM taken WHERE ended_at IS NOT NULL OR error IS NOT NULL OR status = 'pending'
    GROUP BY {_BY}, {step_of("ended_at")}, {bucket_of("waited")}, {bucket_of("ran")}, error
) AS told ON true
""")  # noqa: S608 (names of columns)  # nosec B608


def fold(db: Session, limit: int) -> Folded:
    """Add a batch of at most `limit` changes to the sums."""
    rows = db.execute(_FOLD, {"batch": limit}).all()
    taken, now, *_ = rows[0]
    return Folded(taken, now, [Ended(*row[2:]) for row in rows if row[2] is not None])
