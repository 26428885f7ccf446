"""Inserting tasks: all rows of a statement as one JSON parameter, which json_to_recordset expands.

A parameter for each column of each row costs many times as much, most of it in Python; and the text of the statement
would differ with the number of rows.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db.postgresql.prepared import rows_of
from app.db.postgresql.turns import turns_of
from app.db.statements.tables import DECIDED, TASKS
from app.db.statements.task_rows import WAITS
from app.ddl.clock import STATEMENT_TIME, seconds
from app.ddl.columns import UTCDateTime
from app.models.task import NEVER_DUE, Held
from app.models.task_stats import SUBMITTED, task_submissions


def insert_statement(names: Sequence[str]) -> sa.Insert:
    """Return an INSERT of tasks whose columns `names` are given; build it once. `insert_rows` executes it."""
    given = [name for name in names if name != "run_at"]
    new = (
        sa.func.json_to_recordset(sa.cast(sa.bindparam("p_rows", type_=sa.Text), sa.JSON))
        .table_valued(*(sa.column(name, TASKS.c[name].type) for name in (*given, "run_at")))
        .render_derived(name="new", with_types=True)
    )
    rows = sa.select(new).cte("new_rows").prefix_with("MATERIALIZED")
    start = sa.func.coalesce(rows.c.run_at, STATEMENT_TIME + seconds(rows.c.delay_seconds))
    is_due = (sa.func.coalesce(start, STATEMENT_TIME) <= STATEMENT_TIME) & sa.bindparam("p_place", type_=sa.Boolean)
    due = sa.case((start > STATEMENT_TIME, start), else_=STATEMENT_TIME)
    if "held" in given:
        due = sa.case((rows.c.held == Held.DEPENDENCY.value, sa.literal(NEVER_DUE, UTCDateTime)), else_=due)
    turns = turns_of(rows, is_due)
    values = sa.select(
        *(rows.c[name] for name in given), start, due, STATEMENT_TIME, STATEMENT_TIME, turns.c.turn
    ).select_from(rows.outerjoin(turns, turns.c.id == rows.c.id))
    columns = [*given, "run_at", "due_at", "created_at", "updated_at", "turn"]
    inserted = sa.insert(TASKS).from_select(columns, values).returning(*(TASKS.c[name] for name in DECIDED), WAITS)
    return inserted.add_cte(_counted(rows))


def _counted(rows: sa.CTE) -> sa.CTE:
    """Count the new tasks: a row for each kind, in the same statement. No submit waits for another one's row."""
    kind = [rows.c[name] for name in ("user_id", *SUBMITTED)]
    sums = sa.select(*kind, STATEMENT_TIME, sa.func.count()).group_by(*kind)
    names = ["user_id", *SUBMITTED, "at", "number"]
    return sa.insert(task_submissions).from_select(names, sums).cte("counted")


def insert_rows(
    db: Session | sa.Connection, statement: sa.Insert, rows: Sequence[str], *, place: bool = True
) -> Sequence[Sequence[Any]]:
    """Insert these rows, each a JSON object of its columns. With `place`, those that are due get their turns.

    The last turns of the users are then locked until the commit: other submits of these users wait for it. A connection
    is in autocommit. Returns the DECIDED columns of each, and WAITS.
    Raises IntegrityError or DataError where one of them does not fit; then none is inserted.
    """
    values = {"p_rows": f"[{','.join(rows)}]", "p_place": place}
    # To plan it takes PostgreSQL twice as long as to insert one row.
    return rows_of(db, statement, values)
