"""Batches of the rows that match, shared out among processes: locked, deleted, or taken away."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Delete, Select, Table, delete, inspect, select, tuple_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from app.core.engines import MYSQL, POSTGRESQL, SQLITE
from app.db.statements.writes import changed_rows, engine_name
from app.db.transactions import Transaction
from app.ddl.columns import Base

# Of few rows MySQL would else read all, and wait for those that others have locked.
BY_PRIMARY_KEY = "FORCE INDEX (PRIMARY)"


def lock_batch(db: Transaction, keys: Select[*tuple[Any, ...]], limit: int) -> list[Any]:
    """Return at most `limit` of these keys: values, or rows where the key has several columns.

    Their rows are locked; rows that another transaction has locked are left out.
    """
    if db.execute(keys.limit(1)).first() is None:
        return []  # nearly always: nobody waits for a look that locks nothing
    rows = db.execute(keys.limit(limit).with_for_update(skip_locked=True)).all()
    return [row[0] if len(row) == 1 else tuple(row) for row in rows]


def delete_by_key(model: type[Base]) -> Delete:
    """A DELETE whose WHERE names primary keys. MySQL takes a hint only where the table is named before FROM as well."""
    named = delete(model).prefix_with(model.__tablename__, dialect=MYSQL)
    return named.with_hint(BY_PRIMARY_KEY, dialect_name=MYSQL)


def delete_batch(db: Transaction, model: type[Base], *where: ColumnElement[bool], limit: int) -> int:
    """Delete at most `limit` of the matching rows that no other transaction has locked. Returns how many."""
    keys = inspect(model).primary_key
    found = lock_batch(db, select(*keys).where(*where), limit)
    if not found:
        return 0
    key = keys[0] if len(keys) == 1 else tuple_(*keys)
    statement = delete_by_key(model).where(key.in_(found))
    return changed_rows(db.execute(statement.execution_options(synchronize_session=False)))


# -- Some of the rows that match, whatever key the table has: deleted, or taken away -----------------------------------


class _RowNumber(ColumnElement[int]):
    """Of MySQL it is a column of the tables that have no other key (`app/ddl/indexes.py`)."""

    inherit_cache = True
    type = BigInteger()


@compiles(_RowNumber)
def _row_number(element: _RowNumber, compiler: SQLCompiler, **options: Any) -> str:
    del element, options
    return {POSTGRESQL: "ctid", SQLITE: "rowid"}.get(compiler.dialect.name, "seq")


_ROW_NUMBER = _RowNumber()


def take_rows(db: Transaction, table: Table, limit: int) -> Sequence[Any]:
    """Delete at most `limit` rows that no other transaction has locked, of a table without a key. Returns them."""
    rows = db.execute(select(_ROW_NUMBER.label("row_key"), table).limit(limit).with_for_update(skip_locked=True)).all()
    if rows:
        db.execute(delete(table).where(_ROW_NUMBER.in_([row.row_key for row in rows])))
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
        rows = select(_ROW_NUMBER.label("row_key")).select_from(table).where(*where).limit(limit)
        if engine_name(db) == POSTGRESQL:
            # In a CTE: it may run a subquery with LIMIT again for each row of the statement around it. Not on SQLite,
            # whose driver does not count what a statement WITH a CTE deletes.
            rows = select(rows.with_for_update(skip_locked=True).cte("taken").c.row_key)
        statement = statement.where(_ROW_NUMBER.in_(rows))
    return changed_rows(db.execute(statement))
