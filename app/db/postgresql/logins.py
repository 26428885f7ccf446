"""Logins: locking (FOR SHARE, SKIP LOCKED), RETURNING, arrays as parameters."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.db.clock import NOW, STATEMENT_TIME
from app.db.postgresql.batches import batch
from app.models.login import SESSION_OPEN, LoginSession, RefreshToken


def use_refresh_token(db: Session, digest: bytes) -> UUID | None:
    """Mark an unused token as used. Of any number of concurrent callers one gets the session's id, the others None."""
    unused = update(RefreshToken).where(RefreshToken.digest == digest, RefreshToken.used_at.is_(None))
    return db.scalar(unused.values(used_at=NOW).returning(RefreshToken.session_id))


def revoke_session(db: Session, session_id: UUID, why: str) -> UUID | None:
    """Revoke the login. Returns its user's id; None where it had been revoked before."""
    session = update(LoginSession).where(LoginSession.id == session_id, LoginSession.revoked_at.is_(None))
    return db.scalar(session.values(revoked_at=NOW, revoked_why=why).returning(LoginSession.user_id))


def revoke_open_sessions(
    db: Session, user_id: UUID, why: str, *, only: UUID | None = None, but: UUID | None = None
) -> list[UUID]:
    """Revoke the user's open logins: `only` that one, or all `but` one. Returns the ids of those that it revoked."""
    sessions = update(LoginSession).where(LoginSession.user_id == user_id, SESSION_OPEN)
    if only is not None:
        sessions = sessions.where(LoginSession.id == only)
    if but is not None:
        sessions = sessions.where(LoginSession.id != but)
    return list(db.scalars(sessions.values(revoked_at=NOW, revoked_why=why).returning(LoginSession.id)))


def delete_ended_sessions(db: Session, older_than: timedelta, limit: int) -> int:
    """Delete a batch of logins that ended so long ago, with their refresh tokens. Returns how many.

    Locked rows are skipped, so that two purges share the work.
    """
    ids = batch(select(LoginSession.id).where(LoginSession.expires_at < STATEMENT_TIME - older_than), limit)
    return len(db.execute(delete(LoginSession).where(LoginSession.id.in_(ids)).returning(LoginSession.id)).all())
