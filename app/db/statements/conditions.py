"""Conditions of portable statements that each engine spells in its own way."""

from typing import Any

from sqlalchemy import ColumnElement, bindparam


def is_one_of(column: Any, parameter: str) -> ColumnElement[bool]:
    """The column's value is in the list `parameter`, which may be empty. The values become parameters of their own."""
    result: ColumnElement[bool] = column.in_(bindparam(parameter, expanding=True, type_=column.type))
    return result
