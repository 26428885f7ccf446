"""Installs the triggers of a table with the table, and removes their functions with it."""

from sqlalchemy import DDL, FromClause, event

from app.db.postgresql.schema import audit, counts, guard

# By the table that the triggers stand on: what to execute after it is created, and after it is dropped.
CREATE = {"tasks": (*guard.CREATE, *counts.CREATE), "audit_events": audit.CREATE}
DROP = {"tasks": (*guard.DROP, *counts.DROP), "audit_events": audit.DROP}


def install_with(table: FromClause, name: str) -> None:
    """Have `table`, whose name is `name`, created and dropped with its triggers."""
    for when, statements in (("after_create", CREATE[name]), ("after_drop", DROP[name])):
        for statement in statements:
            # DDL() formats with %, so each % of the text is doubled.
            event.listen(table, when, DDL(statement.replace("%", "%%")))  # type: ignore[no-untyped-call]
