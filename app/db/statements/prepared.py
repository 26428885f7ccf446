"""In the place of PostgreSQL's prepared statements: connections whose statements are transactions of their own."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from app.db.transactions import OwnConnection, own_connection

PreparedConnection = OwnConnection
prepared_connection = own_connection


def execute_prepared(
    connection: sa.Connection, statement: sa.Select[Any], parameters: Mapping[str, Any]
) -> list[tuple[Any, ...]]:
    """Return the rows of a statement that is its own transaction."""
    return [tuple(row) for row in connection.execute(statement, parameters)]
