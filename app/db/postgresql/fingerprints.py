"""The fingerprint of a failure, made in the statement that fails the task: user and name are those of the row."""

from typing import Any

from sqlalchemy import ColumnElement, Text, cast, func, literal_column

CHARACTERS = 32


def fingerprint_of(
    user_id: Any, name: Any, error_type: str | ColumnElement[Any], key: str | ColumnElement[Any]
) -> ColumnElement[str]:
    """32 hexadecimal digits. `key` is one of `app/core/error_keys.py`."""
    parts = [cast(part, Text) for part in (user_id, name, error_type, key)]
    whole = func.concat_ws(literal_column("chr(10)"), *parts)
    digest = func.sha256(func.convert_to(whole, literal_column("'UTF8'")))
    return func.left(func.encode(digest, literal_column("'hex'")), literal_column(str(CHARACTERS)))
