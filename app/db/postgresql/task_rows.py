"""The rows of a page of tasks, cut to a number of bytes before any large value is read.

`octet_length` of a text and `pg_column_size` of any column read a row's pointer to a large value, not the value.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Integer, Select, Text, bindparam, func, literal_column, or_, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from app.db.every_engine.task_rows import FIXED_BYTES, LARGE, Rows
from app.db.postgresql.conditions import is_one_of
from app.db.postgresql.schema import waiting
from app.db.statements.tables import TASKS
from app.models.task import SIZED_OTHERS, SIZED_TEXTS

# Why each task waits: a column beside those of the table.
WAITS = waiting.WAITS_COLUMN.label("waits")
_WAITS_OF_MANY = literal_column(waiting.WAITS_OF_MANY, Text).label("waits")


def _bytes_of_text(column: str) -> str:
    return f"coalesce(octet_length(tasks.{column}), 0)"


def _bytes_of_parsed(column: str) -> str:
    """About the bytes of the column's text. Only a compressed value has to be read: its size says little."""
    return (
        f"CASE WHEN pg_column_compression(tasks.{column}) IS NULL THEN pg_column_size(tasks.{column})"
        f" ELSE octet_length(tasks.{column}::text) END"
    )


TASK_BYTES: ColumnElement[int] = literal_column(
    " + ".join(
        [
            str(FIXED_BYTES),
            *(_bytes_of_text(column) for column in (*SIZED_TEXTS, *LARGE)),
            *(_bytes_of_parsed(column) for column in SIZED_OTHERS),
        ]
    ),
    Integer,
)
# Those of the values that may be large: a statement for one row takes a fifth less time than with TASK_BYTES.
LARGE_BYTES: ColumnElement[int] = literal_column(" + ".join(map(_bytes_of_text, LARGE)), Integer)


def page_statement(columns: Sequence[str], conditions: Sequence[ColumnElement[bool]] = ()) -> Select[Any]:
    """Select these columns and `waits` of the tasks `ids`, in the order of `ids`. `page_rows` executes it."""
    place = func.array_position(bindparam("ids", type_=ARRAY(TASKS.c.id.type)), TASKS.c.id)
    through = func.sum(TASK_BYTES).over(order_by=place)
    of_rows = (
        TASK_BYTES.label("bytes"),
        through.label("through"),
        place.label("place"),
        func.count().over().label("number"),
    )
    # Few columns: SQLAlchemy takes a millisecond for a subquery of all.
    sizes = select(TASKS.c.id, *of_rows).where(is_one_of(TASKS.c.id, "ids"), *conditions).subquery()
    fits = or_(sizes.c.through <= bindparam("most_bytes"), sizes.c.through == sizes.c.bytes)
    return (
        select(*(TASKS.c[name] for name in columns), _WAITS_OF_MANY, sizes.c.number)
        .join(sizes, sizes.c.id == TASKS.c.id)
        .where(fits)
        .order_by(sizes.c.place)
    )


def page_rows(
    db: Session,
    statement: Select[Any],
    ids: Sequence[UUID],
    most_bytes: int,
    parameters: Mapping[str, Any] | None = None,
) -> Rows:
    """The rows of a `page_statement`: as many as fit into `most_bytes`, at least one. `parameters` are its others."""
    found = db.execute(statement, {**(parameters or {}), "ids": list(ids), "most_bytes": most_bytes})
    rows = [dict(row) for row in found.mappings()]
    number = max((row.pop("number") for row in rows), default=0)
    return Rows(rows, is_cut=number > len(rows))
