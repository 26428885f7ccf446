"""The one clock: times that processes compare are read from the database, never from a machine.

NOW is the moment of evaluation. STATEMENT_TIME is one moment for the whole statement: use it for columns that must
agree and for comparisons that an index should serve. `seconds` makes an interval of a number. Engines other than
PostgreSQL have one time in a statement, and SQLite knows milliseconds.
"""

from typing import Any

from sqlalchemy import ColumnElement, Interval
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import operators
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import Function, GenericFunction
from sqlalchemy.sql.visitors import InternalTraversal

from app.ddl.columns import UTCDateTime


class clock_timestamp(GenericFunction[Any]):  # noqa: N801 (the function's name in SQL)
    type = UTCDateTime
    inherit_cache = True


class statement_timestamp(GenericFunction[Any]):  # noqa: N801
    type = UTCDateTime
    inherit_cache = True


@compiles(clock_timestamp, "mysql")
@compiles(statement_timestamp, "mysql")
def _of_mysql(element: Any, compiler: SQLCompiler, **options: Any) -> str:
    """In UTC, as each connection of the service sets its time zone; the one function that may be a default."""
    del element, compiler, options
    return "CURRENT_TIMESTAMP(6)"


@compiles(clock_timestamp, "sqlite")
@compiles(statement_timestamp, "sqlite")
def _of_sqlite(element: Any, compiler: SQLCompiler, **options: Any) -> str:
    del element, compiler, options
    return "CAST(unixepoch('subsec') * 1000000 AS INTEGER)"


class Seconds(ColumnElement[Any]):
    """`number` seconds, fractions included, as an interval."""

    _traverse_internals = [("number", InternalTraversal.dp_clauseelement)]  # noqa: RUF012 (SQLAlchemy's)
    type = Interval()

    def __init__(self, number: ColumnElement[Any]) -> None:
        self.number = number.self_group(against=operators.mul)


@compiles(Seconds)
def _product(element: Seconds, compiler: SQLCompiler, **options: Any) -> str:
    return f"{compiler.process(element.number, **options)} * interval '1 second'"


@compiles(Seconds, "mysql")
def _interval(element: Seconds, compiler: SQLCompiler, **options: Any) -> str:
    return f"INTERVAL {compiler.process(element.number, **options)} SECOND"


@compiles(Seconds, "sqlite")
def _microseconds(element: Seconds, compiler: SQLCompiler, **options: Any) -> str:
    return f"CAST({compiler.process(element.number, **options)} * 1000000 AS INTEGER)"


NOW: Function[Any] = clock_timestamp()
STATEMENT_TIME: Function[Any] = statement_timestamp()
seconds = Seconds
