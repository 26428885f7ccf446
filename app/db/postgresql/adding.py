"""Many rows to insert or to add to what is there, in one statement: all rows as one JSON parameter."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import JSON, ColumnElement, Table, Text, bindparam, cast, column, func, select
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.orm import Session

Columns = Any
Rows = Sequence[dict[str, Any]]


def adding(
    table: Table, names: Sequence[str], set_: Callable[[Columns, Columns], dict[str, ColumnElement[Any]]]
) -> Insert:  # fmt: skip
    """An INSERT of rows with these columns. Where a row is there, it takes `set_` of its columns and the new ones.

    Build it once; `add_rows` executes it.
    """
    new = (
        func.json_to_recordset(cast(bindparam("p_rows", type_=Text), JSON))
        .table_valued(*(column(name, table.c[name].type) for name in names))
        .render_derived(name="new", with_types=True)
    )
    statement = insert(table).from_select(list(names), select(new))
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key.columns), set_=set_(table.c, statement.excluded)
    )


def add_rows(db: Session, statement: Insert, rows: Rows) -> None:
    """Add these rows in their order. It is the same for all callers, so that two at once do not deadlock."""
    if rows:
        db.execute(statement, {"p_rows": json.dumps(rows, default=str)})
