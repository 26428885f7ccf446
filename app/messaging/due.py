"""The rows that a message is due for, and the mark that their messages were sent."""

from collections.abc import Sequence

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from app.db.postgresql import dispatching
from app.db.session import transaction
from app.messaging.dispatches import DISPATCHED_COLUMNS, Dispatch

BATCH = 500


def take_due(db: Session, grace_seconds: float, limit: int = BATCH) -> list[Dispatch]:
    """Pending rows whose `dispatch_at` has come, oldest first, each put off by the grace time.

    The caller sends each row that it has taken. Several callers at once share the rows out. Where one dies before it
    has sent, its rows are due again after the grace time.
    """
    with transaction(db):
        return [Dispatch.of(row) for row in dispatching.take_due(db, DISPATCHED_COLUMNS, grace_seconds, limit)]


def mark_dispatched(db: Session | Connection, sent: Sequence[Dispatch]) -> None:
    """Put the next dispatch of these rows off, now that their messages are sent. Clients see no change.

    On a session one transaction; on a connection one statement.
    """
    ids, windows = [dispatch.id for dispatch in sent], [dispatch.dispatch_at for dispatch in sent]
    if isinstance(db, Connection):
        dispatching.mark_dispatched(db, ids, windows)
        return
    with transaction(db):
        dispatching.mark_dispatched(db.connection(), ids, windows)
