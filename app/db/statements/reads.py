"""Limits of reads whose cost a user chooses, for the rest of the session's transaction."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.db.connecting import of
from app.db.outage import is_timeout
from app.db.statements.upserting import engine_name

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
