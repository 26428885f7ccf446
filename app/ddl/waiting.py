"""Why a task waits: the column that each engine derives for a row of `tasks`, as far as the database knows."""

from typing import Any

from sqlalchemy import ColumnClause, Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from app.ddl.portable import mysql, sqlite
from app.ddl.postgresql import waiting as postgresql


class Waits(ColumnClause[str]):
    """`schedule`, `retry`, `paused`, a `Held` but `name`, or `ready`; NULL unless the task is pending."""

    inherit_cache = True

    def __init__(self, of_postgresql: str) -> None:
        super().__init__(of_postgresql, Text, is_literal=True)


@compiles(Waits, "mysql")
def _of_mysql(element: Waits, compiler: SQLCompiler, **options: Any) -> str:
    del element, compiler, options
    return mysql.WAITS


@compiles(Waits, "sqlite")
def _of_sqlite(element: Waits, compiler: SQLCompiler, **options: Any) -> str:
    del element, compiler, options
    return sqlite.WAITS


WAITS_COLUMN = Waits(postgresql.WAITS)
# The same for statements that look at many rows.
WAITS_OF_MANY = Waits(f"({postgresql.WAITS_OF_MANY})")
