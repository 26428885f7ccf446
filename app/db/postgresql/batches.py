"""A batch of rows to change or delete, shared out among all processes that take from the same table."""

from typing import Any

from sqlalchemy import ColumnElement, Select, and_, delete, inspect, select, tuple_
from sqlalchemy.orm import Session

from app.db.base import Base
from app.db.rows import changed_rows


def batch(keys: Select[*tuple[Any, ...]], limit: int) -> Select[*tuple[Any, ...]]:
    """At most `limit` of these keys. Their rows are locked; rows that another transaction has locked are left out.

    In a CTE: PostgreSQL may run a subquery with LIMIT again for each row of the statement around it, which took 50 rows
    at a limit of one.
    """
    taken = keys.limit(limit).with_for_update(skip_locked=True).cte("batch")
    return select(*taken.c)


def delete_batch(
    db: Session, model: type[Base], *where: ColumnElement[bool], limit: int, guard: ColumnElement[bool] | None = None
) -> int:
    """Delete at most `limit` of the matching rows that no other transaction has locked. Returns how many.

    `guard` must still hold of a row at the moment of its deletion.
    """
    keys = inspect(model).primary_key
    key = keys[0] if len(keys) == 1 else tuple_(*keys)
    in_batch = key.in_(batch(select(*keys).where(*where), limit))
    statement = delete(model).where(in_batch if guard is None else and_(in_batch, guard))
    return changed_rows(db.execute(statement.execution_options(synchronize_session=False)))
