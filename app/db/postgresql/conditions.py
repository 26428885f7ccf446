"""Conditions for portable statements that only PostgreSQL understands."""

from typing import Any

from sqlalchemy import ColumnElement, any_, bindparam
from sqlalchemy.dialects.postgresql import ARRAY


def is_one_of(column: Any, parameter: str) -> ColumnElement[bool]:
    """The column's value is in the list `parameter`. One array and not IN: one statement for any number of values."""
    result: ColumnElement[bool] = column == any_(bindparam(parameter, type_=ARRAY(column.type)))
    return result
