"""A batch of rows to change or delete, shared out among all processes that take from the same table."""

from typing import Any

from sqlalchemy import ColumnElement, Delete, Select, delete, inspect, select, tuple_

from app.core.engines import MYSQL
from app.db.rows import changed_rows
from app.db.statements.executing import Transaction
from app.ddl.base import Base

# Of few rows MySQL would else read all, and wait for those that others have locked.
BY_PRIMARY_KEY = "FORCE INDEX (PRIMARY)"


def lock_batch(db: Transaction, keys: Select[*tuple[Any, ...]], limit: int) -> list[Any]:
    """At most `limit` of these keys: values, or rows where the key has several columns.

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


def delete_batch(
    db: Transaction,
    model: type[Base],
    *where: ColumnElement[bool],
    limit: int,
    guard: ColumnElement[bool] | None = None,
) -> int:
    """Delete at most `limit` of the matching rows that no other transaction has locked. Returns how many.

    `guard` must still hold of a row at the moment of its deletion.
    """
    keys = inspect(model).primary_key
    found = lock_batch(db, select(*keys).where(*where), limit)
    if not found:
        return 0
    key = keys[0] if len(keys) == 1 else tuple_(*keys)
    statement = delete_by_key(model).where(key.in_(found), *(() if guard is None else (guard,)))
    return changed_rows(db.execute(statement.execution_options(synchronize_session=False)))
