"""PostgreSQL's clock in SQL expressions. Other rooms import these names from `app.db.clock`."""

from typing import Any

from sqlalchemy import ColumnElement, func, literal_column

# The moment of evaluation: it may differ from row to row of one statement, so no index serves a comparison with it.
NOW = func.clock_timestamp()
# The moment at which the statement arrived: one value throughout the statement, and an index serves a comparison.
STATEMENT_TIME = func.statement_timestamp()


def seconds(number: ColumnElement[Any]) -> ColumnElement[Any]:
    """`number` seconds, fractions included, as an interval."""
    return number * literal_column("interval '1 second'")
