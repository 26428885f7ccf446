"""How many rows a statement has changed, and values for each of them."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, Result, case, literal


def changed_rows(result: Result[Any]) -> int:
    """How many rows an UPDATE or DELETE without RETURNING has matched."""
    assert isinstance(result, CursorResult)
    return result.rowcount


def value_by(key: ColumnElement[Any], values: Mapping[Any, Any]) -> ColumnElement[Any]:
    """For each row the value that stands under its `key` in `values`, which is not empty; NULL where there is none."""
    return case(*((literal(each, key.type), value) for each, value in values.items()), value=key)
