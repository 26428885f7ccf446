"""Some of the rows that match, whatever key the table has: deleted, or taken away."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Table, delete, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from app.core.engines import MYSQL, POSTGRESQL, SQLITE
from app.db.rows import changed_rows
from app.db.statements.executing import Transaction
from app.db.statements.upserting import engine_name


class _RowNumber(ColumnElement[int]):
    """Of MySQL it is a column of the tables that have no other key (`app/ddl/own_columns.py`)."""

    inherit_cache = True
    type = BigInteger()


@compiles(_RowNumber)
def _seq(element: _RowNumber, compiler: SQLCompiler, **options: Any) -> str:
    del element, options
    return {POSTGRESQL: "ctid", SQLITE: "rowid"}.get(compiler.dialect.name, "seq")


_NUMBER = _RowNumber()


def take(db: Transaction, table: Table, limit: int) -> Sequence[Any]:
    """Delete at most `limit` rows that no other transaction has locked, of a table without a key. Returns them."""
    rows = db.execute(select(_NUMBER.label("row_key"), table).limit(limit).with_for_update(skip_locked=True)).all()
    if rows:
        db.execute(delete(table).where(_NUMBER.in_([row.row_key for row in rows])))
    return rows


def delete_some(db: Transaction, table: Table, *where: ColumnElement[bool], limit: int) -> int:
    """Delete at most `limit` of the matching rows. Returns how many.

    Unlike `delete_batch` also by keys of several columns: MariaDB reads the whole table for a list of such keys. On
    MySQL it waits for rows that another transaction has locked.
    """
    statement = delete(table)
    if engine_name(db) == MYSQL:
        from sqlalchemy.dialects.mysql import limit as limit_of_mysql

        statement = statement.where(*where).ext(limit_of_mysql(limit))
    else:
        rows = select(_NUMBER.label("row_key")).select_from(table).where(*where).limit(limit)
        if engine_name(db) == POSTGRESQL:
            # In a CTE: it may run a subquery with LIMIT again for each row of the statement around it. Not on SQLite,
            # whose driver does not count what a statement WITH a CTE deletes.
            rows = select(rows.with_for_update(skip_locked=True).cte("taken").c.row_key)
        statement = statement.where(_NUMBER.in_(rows))
    return changed_rows(db.execute(statement))
