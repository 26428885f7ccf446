"""What each engine has beside columns and indexes: triggers, installed with a table, and why a task waits."""

from typing import Any

from sqlalchemy import DDL, ColumnClause, FromClause, Text, event
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from app.ddl import mysql, postgresql, sqlite

_ENGINES = {"postgresql": postgresql, "mysql": mysql, "sqlite": sqlite}


def install_triggers(table: FromClause, name: str) -> None:
    """Have `table`, whose name is `name`, created with its triggers."""
    for engine, triggers in _ENGINES.items():
        for statement in triggers.CREATE.get(name, ()):
            # DDL() formats with %, so each % of the text is doubled.
            ddl = DDL(statement.replace("%", "%%"))  # type: ignore[no-untyped-call]
            event.listen(table, "after_create", ddl.execute_if(dialect=engine))


# -- Why a task waits: the column that each engine derives for a row of `tasks`, as far as the database knows ----------


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
