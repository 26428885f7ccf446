"""Limits of reads whose cost a user chooses, for the rest of the session's transaction."""

from sqlalchemy.orm import Session

from app.db.connecting import of
from app.db.statements.upserting import engine_name


def limit_read(db: Session, seconds: float) -> None:
    """Stop each further statement of this transaction after `seconds`; on MySQL those that only read."""
    of(engine_name(db)).limit_statements(db.connection(), seconds)
