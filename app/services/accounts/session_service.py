"""A user's logins: listing them, and ending one or all others (OWASP ASVS 5.0, 7.5.2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.session import transaction
from app.db.statements import logins
from app.errors import SessionNotFound
from app.models.audit import AuditEvent
from app.models.login import SESSION_OPEN, LoginSession, RefreshToken
from app.services.audit import recording as audit
from app.services.audit.recording import Subject

# Logins expire, and throttling limits their creation. A user with more logins sees the newest.
MOST_LISTED = 1000


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A valid login. `refreshed_at` is the time of its newest tokens; `current` marks the login of this request."""

    id: UUID
    created_at: datetime
    refreshed_at: datetime
    expires_at: datetime
    address: str | None
    user_agent: str | None
    current: bool


_REFRESHED = (
    select(func.max(RefreshToken.created_at)).where(RefreshToken.session_id == LoginSession.id).scalar_subquery()
)


class SessionService:
    """Each method is one transaction. `current` is the login of this request."""

    def list_sessions(self, db: Session, user_id: UUID, current: UUID | None) -> Sequence[OpenSession]:
        """Return the user's valid logins, newest first."""
        statement = (
            select(
                LoginSession.id,
                LoginSession.created_at,
                func.coalesce(_REFRESHED, LoginSession.created_at),
                LoginSession.expires_at,
                LoginSession.address,
                LoginSession.user_agent,
            )
            .where(LoginSession.user_id == user_id, SESSION_OPEN)
            .order_by(LoginSession.created_at.desc(), LoginSession.id.desc())
            .limit(MOST_LISTED)
        )
        with transaction(db):
            return [OpenSession(*row, current=row[0] == current) for row in db.execute(statement)]

    def end_session(self, db: Session, user_id: UUID, session_id: UUID) -> None:
        """End one login of the user; no process accepts its tokens afterwards. Raises SessionNotFound."""
        with transaction(db):
            if not self._end(db, user_id, only=session_id):
                raise SessionNotFound

    def end_other_sessions(self, db: Session, user_id: UUID, current: UUID | None) -> None:
        """End all logins of the user except the current one."""
        with transaction(db):
            self._end(db, user_id, but=current)

    def _end(self, db: Session, user_id: UUID, **which: UUID | None) -> bool:
        revoked = logins.revoke_open_sessions(db, user_id, "ended by its user", **which)
        ended = [str(session_id) for session_id in revoked]
        if ended:
            audit.record(db, AuditEvent.SESSION_ENDED, Subject.user(user_id), sessions=ended)
        return bool(ended)


session_service = SessionService()
