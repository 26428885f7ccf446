"""Installs the triggers of a table with the table, on each engine its own."""

from sqlalchemy import DDL, FromClause, event

from app.ddl.portable import mysql, sqlite
from app.ddl.postgresql import triggers as postgresql

_ENGINES = {"postgresql": postgresql, "mysql": mysql, "sqlite": sqlite}


def install_with(table: FromClause, name: str) -> None:
    """Have `table`, whose name is `name`, created with its triggers."""
    for engine, triggers in _ENGINES.items():
        for statement in triggers.CREATE.get(name, ()):
            # DDL() formats with %, so each % of the text is doubled.
            ddl = DDL(statement.replace("%", "%%"))  # type: ignore[no-untyped-call]
            event.listen(table, "after_create", ddl.execute_if(dialect=engine))
