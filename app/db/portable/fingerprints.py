"""The fingerprint of a failure, made of user and name of the row that fails."""

from typing import Any

from sqlalchemy import ColumnElement, func

from app.db.portable.expressions import id_digits, sha256_hex

CHARACTERS = 32


def fingerprint_of(
    user_id: Any, name: Any, error_type: str | ColumnElement[Any], key: str | ColumnElement[Any]
) -> ColumnElement[str]:
    """32 hexadecimal digits. `key` is one of `app/core/error_keys.py`."""
    return func.substr(sha256_hex(id_digits(user_id), name, error_type, key), 1, CHARACTERS)
