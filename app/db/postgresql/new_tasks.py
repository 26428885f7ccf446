"""Inserting tasks: all rows of a statement as one JSON parameter, which json_to_recordset expands.

A parameter for each column of each row costs many times as much, most of it in Python; and the text of the statement
would differ with the number of rows.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import JSON, Connection, Float, Insert, Row, Text, bindparam, case, cast, column, func, insert, select
from sqlalchemy.orm import Session

from app.db.base import Base
from app.db.clock import STATEMENT_TIME, seconds
from app.models.task import Task

_TABLE = Base.metadata.tables[Task.__tablename__]
# What the database decides. JSONB has its own form of numbers, so `metadata` is answered as it stands in the row.
DECIDED = ("id", "run_at", "dispatch_at", "created_at", "updated_at", "metadata")


def insert_statement(names: Sequence[str]) -> Insert:
    """An INSERT of tasks whose columns `names` are given; build it once. `insert_rows` executes it."""
    given = [name for name in names if name != "run_at"]
    new = (
        func.json_to_recordset(cast(bindparam("p_rows", type_=Text), JSON))
        .table_valued(*(column(name, _TABLE.c[name].type) for name in (*given, "run_at")), column("grace", Float))
        .render_derived(name="new", with_types=True)
    )
    start = func.coalesce(new.c.run_at, STATEMENT_TIME + seconds(new.c.delay_seconds))
    # Due now: dispatched by the publisher within the grace time, by the maintenance loop after it.
    due = case((start > STATEMENT_TIME, start), else_=STATEMENT_TIME + seconds(new.c.grace))
    values = select(*(new.c[name] for name in given), start, due, STATEMENT_TIME, STATEMENT_TIME)
    columns = [*given, "run_at", "dispatch_at", "created_at", "updated_at"]
    return insert(_TABLE).from_select(columns, values).returning(*(_TABLE.c[name] for name in DECIDED))


def insert_rows(db: Session | Connection, statement: Insert, rows: Sequence[str]) -> Sequence[Row[Any]]:
    """Insert these rows, each a JSON object of its columns and `grace` (seconds). Returns the DECIDED columns of each.

    Raises IntegrityError or DataError where one of them does not fit; then none is inserted.
    """
    return db.execute(statement, {"p_rows": f"[{','.join(rows)}]"}).all()
