"""Adding to the numbers by time and to the counters of `/metrics`, and taking the rows of new tasks away.

Many rows are one JSON parameter of one statement.
"""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import JSON, Table, Text, bindparam, cast, column, func, select, text
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.orm import Session

from app.core.duration_buckets import LAST, PER_DOUBLING, SHORTEST_SECONDS
from app.models.task_stats import (
    PAIR,
    SHORTEST_STEP,
    STAT_KIND,
    STAT_NUMBERS,
    SUBMITTED,
    SUM_NUMBERS,
    task_durations,
    task_stats,
    task_sum_durations,
    task_sums,
)

Rows = Sequence[dict[str, Any]]

_KIND = ", ".join(SUBMITTED)


def step_of(column: str) -> str:
    """The begin of the shortest step that a time is in, as SQL."""
    return f"date_bin('{SHORTEST_STEP} seconds', {column}, 'epoch')"


def bucket_of(column: str) -> str:
    """The bucket of a duration in seconds (`app/core/duration_buckets.py`), as SQL; NULL without one."""
    doublings = f"ln({column} / {SHORTEST_SECONDS}) / ln(2)"
    within = f"least({LAST}, 1 + floor({PER_DOUBLING} * {doublings}))"
    return f"CASE WHEN {column} < {SHORTEST_SECONDS} THEN 0 WHEN {column} IS NOT NULL THEN {within} END::integer"


_TAKE = text(f"""
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


def _summing(table: Table, key: Sequence[str], numbers: Sequence[str]) -> Insert:
    """An INSERT of rows with these columns, which adds their numbers to those that are there."""
    names = [*key, *numbers]
    new = (
        func.json_to_recordset(cast(bindparam("p_rows", type_=Text), JSON))
        .table_valued(*(column(name, table.c[name].type) for name in names))
        .render_derived(name="new", with_types=True)
    )
    statement = insert(table).from_select(names, select(new))
    sums = {name: table.c[name] + statement.excluded[name] for name in numbers}
    return statement.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=sums)


def _add(db: Session, statement: Insert, rows: Rows) -> None:
    """Add these rows in their order. It is the same for all callers, so that two at once do not deadlock."""
    if rows:
        db.execute(statement, {"p_rows": json.dumps(rows, default=str)})


_STEP = ("user_id", "step_seconds", "at")
_ADD_STATS = _summing(task_stats, [*_STEP, *STAT_KIND], STAT_NUMBERS)
_ADD_DURATIONS = _summing(task_durations, [*_STEP, "measure", "bucket"], ["number"])
_ADD_SUMS = _summing(task_sums, PAIR, SUM_NUMBERS)
_ADD_SUM_DURATIONS = _summing(task_sum_durations, [*PAIR, "measure", "bucket"], ["number", "seconds"])


def add_stats(db: Session, rows: Rows) -> None:
    """Add these numbers. Each row has all columns."""
    _add(db, _ADD_STATS, rows)


def add_durations(db: Session, rows: Rows) -> None:
    """As `add_stats`, for durations."""
    _add(db, _ADD_DURATIONS, rows)


def add_sums(db: Session, rows: Rows) -> None:
    """As `add_stats`, to the counters of `/metrics`."""
    _add(db, _ADD_SUMS, rows)


def add_sum_durations(db: Session, rows: Rows) -> None:
    """As `add_stats`, to their durations."""
    _add(db, _ADD_SUM_DURATIONS, rows)
