"""How rows are read on every engine: conditions that an index serves, distinct values, and a limit of time."""

from collections.abc import Callable, Collection
from typing import Any, TypeVar
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.visitors import InternalTraversal

from app.db.connections import of
from app.db.outage import is_timeout
from app.db.statements.writes import engine_name
from app.ddl.columns import Base, array_of
from app.errors import ServiceError

Model = TypeVar("Model", bound=Base)


def find_owned(
    db: Session,
    model: type[Model],
    row_id: UUID,
    owner: UUID | None,
    error: type[ServiceError],
    *which: sa.ColumnElement[bool],
    lock: bool = False,
) -> Model:
    """Return the row as it is committed now, if it is this user's; with an `owner` of None, whoever's it is.

    Another user's raises `error` as one that does not exist, so that no answer tells which ids there are. `which`:
    further conditions; `lock`: it stays as it is until the transaction ends.
    """
    its_id = model.__table__.c.id == row_id
    statement = sa.select(model).where(its_id, *of_owner(model, owner), *which)
    statement = statement.with_for_update() if lock else statement
    found = db.scalars(statement.execution_options(populate_existing=True)).one_or_none()
    if found is None:
        raise error
    return found


def of_owner(model: type[Base], owner: UUID | None) -> list[sa.ColumnElement[bool]]:
    """Return the condition that a row is this user's; none with an `owner` of None."""
    return [] if owner is None else [model.__table__.c.user_id == owner]


def has_rows(found: sa.Select[Any]) -> sa.ColumnElement[bool]:
    """The SELECT, of one column that is never NULL, has a row.

    By LIMIT, and in the order of an index where the SELECT names one: of EXISTS an engine may make a join, or read the
    table until it finds a row.
    """
    return found.limit(sa.literal_column("1", sa.Integer)).scalar_subquery().is_not(None)


class is_one_of(sa.ColumnElement[bool]):  # noqa: N801 (used as a function)
    """The column's value is in a list, which may be empty: these values, or the parameter of this name.

    On PostgreSQL the list is one array: one statement for any number of values, which can be prepared. Elsewhere the
    values become parameters of their own, each of which SQLAlchemy renders at each execution.
    """

    _traverse_internals = [  # noqa: RUF012 (SQLAlchemy's)
        ("column", InternalTraversal.dp_clauseelement),
        ("array", InternalTraversal.dp_clauseelement),
        ("each", InternalTraversal.dp_clauseelement),
    ]
    # No Boolean: SQLAlchemy would compare it with 1 where an engine has no such type, and no index serves that.

    def __init__(self, column: Any, values: str | Collection[Any]) -> None:
        self.column = column.__clause_element__() if hasattr(column, "__clause_element__") else column
        kind = self.column.type
        if isinstance(values, str):
            self.array = sa.bindparam(values, type_=array_of(kind))
            self.each = sa.bindparam(values, expanding=True, type_=kind)
        else:
            self.array = sa.bindparam(None, list(values), type_=array_of(kind), unique=True)
            self.each = sa.bindparam(None, list(values), expanding=True, type_=kind, unique=True)


@compiles(is_one_of)
def _in(element: is_one_of, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.column.in_(element.each).self_group(), **options)


@compiles(is_one_of, "postgresql")
def _any(element: is_one_of, compiler: SQLCompiler, **options: Any) -> str:
    column, array = (compiler.process(each, **options) for each in (element.column, element.array))
    return f"{column} = ANY ({array})"


# -- The distinct values of an indexed column, found by skipping from each to the next: two look-ups for each value ----
# DISTINCT would read every row, of which one value may have any number.


def skip_scan(column: Any, *which: sa.ColumnElement[bool], most: Any) -> sa.CTE:
    """Return the next `most` values (a number, or a parameter) behind the parameter `after`, each with its `number`.

    An index begins with the columns that `which` names, and goes on with this one. The last row may be NULL.
    """

    def first(behind: Any) -> Any:
        return sa.select(column).where(*which, column > behind).order_by(column).limit(1)

    start = first(sa.bindparam("after", type_=column.type)).scalar_subquery()
    steps = sa.select(start.label("value"), sa.literal(1, sa.Integer).label("number")).cte("found", recursive=True)
    following = first(steps.c.value).correlate(steps).scalar_subquery()
    return steps.union_all(
        sa.select(following, steps.c.number + 1).where(steps.c.value.is_not(None), steps.c.number < most)
    )


def distinct_values(column: Any, *which: sa.ColumnElement[bool], most: Any) -> sa.Select[Any]:
    """Return the SELECT of these values alone, in their order."""
    found = skip_scan(column, *which, most=most)
    return sa.select(found.c.value).where(found.c.value.is_not(None)).order_by(found.c.number)


# -- Limits of reads whose cost a user chooses, for the rest of the session's transaction ------------------------------

Found = TypeVar("Found")


def limit_read(db: Session, seconds: float) -> None:
    """Stop each further statement of this transaction after `seconds`; on MySQL those that only read."""
    of(engine_name(db)).limit_statements(db.connection(), seconds)


def read_within(db: Session, seconds: float, read: Callable[[], Found]) -> Found | None:
    """Return what `read` does, or None if one of its statements takes longer. The transaction goes on."""
    try:
        with db.begin_nested():
            limit_read(db, seconds)
            return read()
    except DBAPIError as error:
        if not is_timeout(error):
            raise
        return None
