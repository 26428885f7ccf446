"""Logins: rows that are locked before they are changed."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.core.engines import MYSQL
from app.db.rows import changed_rows
from app.db.statements.batches import BY_PRIMARY_KEY, delete_batch
from app.ddl.clock import NOW, STATEMENT_TIME
from app.models.auth import SESSION_OPEN, LoginSession, RefreshToken
from app.models.user import User


def lock_user_unchanged(db: Session, user_id: UUID, password_hash: str, *, to_write: bool) -> datetime | None:
    """Lock an active user who still has this password hash until the transaction ends.

    Args:
        to_write: the user's row will be changed; else a shared lock is enough.

    Returns the database's time, or None where the user has changed.
    """
    found = select(NOW).select_from(User)
    found = found.where(User.id == user_id, User.password_hash == password_hash, User.is_active)
    return db.scalar(found.with_for_update(read=not to_write))


def use_refresh_token(db: Session, digest: bytes) -> UUID | None:
    """Mark an unused token as used. Of any number of concurrent callers one gets the session's id, the others None."""
    unused = update(RefreshToken).where(RefreshToken.digest == digest, RefreshToken.used_at.is_(None))
    if not changed_rows(db.execute(unused.values(used_at=NOW).execution_options(synchronize_session=False))):
        return None
    return db.scalar(select(RefreshToken.session_id).where(RefreshToken.digest == digest))


def revoke_session(db: Session, session_id: UUID, why: str) -> UUID | None:
    """Revoke the login. Returns its user's id; None where it had been revoked before."""
    session = update(LoginSession).where(LoginSession.id == session_id, LoginSession.revoked_at.is_(None))
    revoked = session.values(revoked_at=NOW, revoked_why=why).execution_options(synchronize_session=False)
    if not changed_rows(db.execute(revoked)):
        return None
    return db.scalar(select(LoginSession.user_id).where(LoginSession.id == session_id))


def revoke_open_sessions(
    db: Session, user_id: UUID, why: str, *, only: UUID | None = None, but: UUID | None = None
) -> list[UUID]:
    """Revoke the user's open logins: `only` that one, or all `but` one. Returns the ids of those that it revoked."""
    sessions = select(LoginSession.id).where(LoginSession.user_id == user_id, SESSION_OPEN)
    if only is not None:
        sessions = sessions.where(LoginSession.id == only)
    if but is not None:
        sessions = sessions.where(LoginSession.id != but)
    ids = list(db.scalars(sessions.with_for_update()))
    if ids:
        these = update(LoginSession).with_hint(BY_PRIMARY_KEY, dialect_name=MYSQL).where(LoginSession.id.in_(ids))
        revoked = these.values(revoked_at=NOW, revoked_why=why)
        db.execute(revoked.execution_options(synchronize_session=False))
    return ids


def delete_ended_sessions(db: Session, older_than: timedelta, limit: int) -> int:
    """Delete a batch of logins that ended so long ago, with their refresh tokens. Returns how many.

    Locked rows are skipped, so that two purges share the work.
    """
    return delete_batch(db, LoginSession, LoginSession.expires_at < STATEMENT_TIME - older_than, limit=limit)
