"""Some of the rows that match, whatever key the table has: deleted, or taken away."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, ColumnClause, ColumnElement, Table, delete, select
from sqlalchemy.dialects.mysql import limit as limit_of_mysql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from app.core.engines import SQLITE
from app.db.rows import changed_rows
from app.db.statements.executing import Transaction
from app.db.statements.upserting import engine_name


class _RowNumber(ColumnClause[int]):
    """Of MySQL it is a column of the tables that have no other key (`app/db/own_columns.py`)."""

    inherit_cache = True

    def __init__(self) -> None:
        super().__init__("seq", BigInteger, is_literal=True)


@compiles(_RowNumber, SQLITE)
def _rowid(element: _RowNumber, compiler: SQLCompiler, **options: Any) -> str:
    del element, compiler, options
    return "rowid"


_NUMBER = _RowNumber()


def take(db: Transaction, table: Table, limit: int) -> Sequence[Any]:
    """Delete at most `limit` rows that no other transaction has locked, of a table without a key. Returns them."""
    rows = db.execute(select(_NUMBER.label("row_key"), table).limit(limit).with_for_update(skip_locked=True)).all()
    if rows:
        db.execute(delete(table).where(_NUMBER.in_([row.row_key for row in rows])))
    return rows


def delete_some(db: Transaction, table: Table, *where: ColumnElement[bool], limit: int) -> int:
    """Delete at most `limit` of the matching rows. Returns how many.

    Unlike `delete_batch` also by keys of several columns: MariaDB reads the whole table for a list of such keys. Waits
    for rows that another transaction has locked.
    """
    statement = delete(table)
    if engine_name(db) == SQLITE:
        statement = statement.where(_NUMBER.in_(select(_NUMBER).select_from(table).where(*where).limit(limit)))
    else:
        statement = statement.where(*where).ext(limit_of_mysql(limit))
    return changed_rows(db.execute(statement))
