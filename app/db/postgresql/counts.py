"""Numbers that are kept: of tasks by kind and time, for `/metrics`, and of what a user has used in a day.

Many rows are one JSON parameter of one statement.
"""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import column
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.orm import Session

from app.core.duration_buckets import LAST, PER_DOUBLING, SHORTEST_SECONDS
from app.db.postgresql.prepared import PreparedConnection
from app.db.statements.tables import DAILY_COUNTS
from app.ddl.clock import NOW
from app.models.task import Task
from app.models.task_count import COUNTED_UNDER, Ended, Folded
from app.models.task_stats import SHORTEST_STEP, SUBMITTED

Rows = Sequence[dict[str, Any]]

_KIND = ", ".join(SUBMITTED)


def step_of(column: str) -> str:
    """Return the begin of the shortest step that a time is in, as SQL."""
    return f"date_bin('{SHORTEST_STEP} seconds', {column}, 'epoch')"


def bucket_of(column: str) -> str:
    """Return the bucket of a duration in seconds (`app/core/duration_buckets.py`), as SQL; NULL without one."""
    doublings = f"ln({column} / {SHORTEST_SECONDS}) / ln(2)"
    within = f"least({LAST}, 1 + floor({PER_DOUBLING} * {doublings}))"
    return f"CASE WHEN {column} < {SHORTEST_SECONDS} THEN 0 WHEN {column} IS NOT NULL THEN {within} END::integer"


_TAKE = sa.text(f"""
WITH taken AS (
    DELETE FROM task_submissions WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM task_submissions LIMIT :batch FOR UPDATE SKIP LOCKED
    )) RETURNING user_id, at, {_KIND}, number
)
SELECT statement_timestamp(), count(*), user_id, {step_of("at")}, {_KIND}, sum(number)::bigint
FROM taken GROUP BY user_id, {step_of("at")}, {_KIND}
""")  # noqa: S608 (names of columns)  # nosec B608


def take_submissions(db: Session, limit: int) -> Sequence[Any]:
    """Take at most `limit` rows of new tasks away.

    Returns their sums: the time now, how many rows, the user, the begin of the shortest step, SUBMITTED, the number.
    """
    return db.execute(_TAKE, {"batch": limit}).all()


def add_numbers(db: Session, table: sa.Table, rows: Rows) -> None:
    """Add the numbers of these rows to those of the table: what is no key. Each row has all columns.

    The rows stand in the same order for all callers, so that two at once do not deadlock.
    """
    if rows:
        db.execute(_summing(table), {"p_rows": json.dumps(rows, default=str)})


@cache
def _summing(table: sa.Table) -> Insert:
    """Return an INSERT of rows of JSON, which adds their numbers to those that are there."""
    names = [each.name for each in table.c]
    new = (
        sa.func.json_to_recordset(sa.cast(sa.bindparam("p_rows", type_=sa.Text), sa.JSON))
        .table_valued(*(column(name, table.c[name].type) for name in names))
        .render_derived(name="new", with_types=True)
    )
    statement = insert(table).from_select(names, sa.select(new))
    sums = {each.name: each + statement.excluded[each.name] for each in table.c if not each.primary_key}
    return statement.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=sums)


# -- Folding the changes into the kept sums (`app/models/task_count.py`) -----------------------------------------------

_BY = ", ".join(COUNTED_UNDER)
# One statement, so that a reader sees each change once: among the changes, or in the sums. Sorted, so that two folds at
# once do not deadlock.
_FOLD = sa.text(f"""
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


def fold_changes(db: Session, limit: int) -> Folded:
    """Add a batch of at most `limit` changes to the sums."""
    rows = db.execute(_FOLD, {"batch": limit}).all()
    taken, now, *_ = rows[0]
    return Folded(taken, now, [Ended(*row[2:]) for row in rows if row[2] is not None])


# -- Daily counts: one statement that counts only within a limit (ON CONFLICT with a condition, RETURNING) -------------

Executor = Session | sa.Connection | PreparedConnection
_AMOUNT = sa.bindparam("amount", type_=sa.BigInteger)
_LIMIT = sa.bindparam("limit", type_=sa.BigInteger)
_TODAY = sa.cast(sa.func.timezone("UTC", NOW), sa.Date)
_FIRST_OF_DAY = sa.select(
    Task.user_id, sa.bindparam("what", type_=sa.Text), _TODAY, sa.cast(_AMOUNT, sa.BigInteger)
).where(Task.id == sa.bindparam("task_id", type_=sa.Uuid), _AMOUNT <= _LIMIT)
_INSERT_DAY = insert(DAILY_COUNTS).from_select(["user_id", "what", "day", "used"], _FIRST_OF_DAY)
_COUNT_DAY = _INSERT_DAY.on_conflict_do_update(
    index_elements=[DAILY_COUNTS.c.user_id, DAILY_COUNTS.c.what, DAILY_COUNTS.c.day],
    set_={"used": DAILY_COUNTS.c.used + _INSERT_DAY.excluded.used},
    where=DAILY_COUNTS.c.used + _INSERT_DAY.excluded.used <= _LIMIT,
).returning(DAILY_COUNTS.c.used)


def count_for_owner(db: Executor, task_id: UUID, what: str, amount: int, limit: int) -> bool:
    """Add `amount` to what the task's owner has used today. Returns False, and adds nothing, beyond the limit."""
    values = {"task_id": task_id, "what": what, "amount": amount, "limit": limit}
    return db.execute(_COUNT_DAY, values).one_or_none() is not None
