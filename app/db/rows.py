"""How many rows a statement has changed."""

from typing import Any

from sqlalchemy import CursorResult, Result


def changed_rows(result: Result[Any]) -> int:
    """How many rows an UPDATE or DELETE without RETURNING has matched."""
    assert isinstance(result, CursorResult)
    return result.rowcount
