"""The rows of a page of tasks, cut to a number of bytes: first their sizes are read, then the rows that fit.

For `octet_length` of a text PostgreSQL and SQLite read its size alone. MySQL reads the text, and sends nothing of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Integer, Select, func, literal_column, select
from sqlalchemy.orm import Session

from app.db.statements.expressions import octet_length
from app.db.statements.reads import is_one_of
from app.db.statements.tables import TASKS
from app.ddl.engines import WAITS_COLUMN, WAITS_OF_MANY
from app.models.task import SIZED_OTHERS, SIZED_TEXTS

# What a task takes in an answer besides its texts and lists: the names of all fields, ids, times and numbers.
FIXED_BYTES = 1200
# The columns whose values may be large.
LARGE = ("args", "kwargs", "progress_detail", "result", "error_message")
# Why each task waits: a column beside those of the table.
WAITS = WAITS_COLUMN.label("waits")


def _bytes_of(columns: Sequence[str], fixed: int = 0) -> ColumnElement[int]:
    sizes = (func.coalesce(octet_length(TASKS.c[column]), literal_column("0")) for column in columns)
    return sum(sizes, start=literal_column(str(fixed), Integer))


TASK_BYTES = _bytes_of((*LARGE, *SIZED_TEXTS, *SIZED_OTHERS), FIXED_BYTES)
# Those of the values that may be large.
LARGE_BYTES = _bytes_of(LARGE)


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows that fit, and whether others were left out for their bytes."""

    rows: list[dict[str, Any]]
    is_cut: bool


@dataclass(frozen=True, slots=True)
class PageStatement:
    """What `page_rows` executes: `sizes` of all ids, then `rows` of those that fit."""

    sizes: Select[UUID, int]
    rows: Select[Any]


def page_statement(columns: Sequence[str], conditions: Sequence[ColumnElement[bool]] = ()) -> PageStatement:
    """Select these columns, `id` among them, and `waits` of the tasks `ids`. `page_rows` executes it."""
    named = is_one_of(TASKS.c.id, "ids")
    return PageStatement(
        select(TASKS.c.id, TASK_BYTES).where(named, *conditions),
        select(*(TASKS.c[name] for name in columns), WAITS_OF_MANY.label("waits")).where(named, *conditions),
    )


def page_rows(
    db: Session,
    statement: PageStatement,
    ids: Sequence[UUID],
    most_bytes: int,
    parameters: Mapping[str, Any] | None = None,
) -> Rows:
    """The rows of a `page_statement`: as many as fit into `most_bytes`, at least one. `parameters` are its others."""
    others = dict(parameters or {})
    sizes = {row[0]: row[1] for row in db.execute(statement.sizes, {**others, "ids": list(ids)})}
    left = [each for each in ids if each in sizes]
    rows: list[dict[str, Any]] = []
    while left and not rows:  # again where all that would fit were deleted meanwhile
        fitting, left = _cut(left, sizes, most_bytes)
        found = {row["id"]: dict(row) for row in db.execute(statement.rows, {**others, "ids": fitting}).mappings()}
        rows = [found[each] for each in fitting if each in found]
    return Rows(rows, is_cut=bool(left))


def _cut(ids: list[UUID], sizes: Mapping[UUID, int], most_bytes: int) -> tuple[list[UUID], list[UUID]]:
    """Return the first ids that take `most_bytes` together, at least one, and the rest."""
    number, total = 1, sizes[ids[0]]
    while number < len(ids) and total + sizes[ids[number]] <= most_bytes:
        total += sizes[ids[number]]
        number += 1
    return ids[:number], ids[number:]
