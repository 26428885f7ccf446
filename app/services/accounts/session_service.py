"""A user's logins, as the user sees them: which there are, and ending one or all others (OWASP ASVS 5.0, 7.5.2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from app.db.session import transaction
from app.errors import SessionNotFound
from app.models.audit import AuditEvent
from app.models.login import LoginSession, RefreshToken
from app.services.audit import recording as audit
from app.services.audit.recording import Subject

NOW = func.clock_timestamp()
# A login has an end, and the throttle bounds how fast they are made; somebody with more sees the newest.
MOST_LISTED = 1000


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A login that stands. `refreshed_at` is when its newest pair of tokens was given out."""

    id: UUID
    created_at: datetime
    refreshed_at: datetime
    expires_at: datetime
    current: bool


_REFRESHED = (
    select(func.max(RefreshToken.created_at)).where(RefreshToken.session_id == LoginSession.id).scalar_subquery()
)
_OPEN = (LoginSession.revoked_at.is_(None), LoginSession.expires_at > NOW)


class SessionService:
    """Each method is one transaction. `current` is the login that asks."""

    def list_sessions(self, db: Session, user_id: UUID, current: UUID | None) -> Sequence[OpenSession]:
        """The user's logins that are neither over nor ended, newest first."""
        statement = (
            select(
                LoginSession.id,
                LoginSession.created_at,
                func.coalesce(_REFRESHED, LoginSession.created_at),
                LoginSession.expires_at,
            )
            .where(LoginSession.user_id == user_id, *_OPEN)
            .order_by(LoginSession.created_at.desc(), LoginSession.id.desc())
            .limit(MOST_LISTED)
        )
        with transaction(db):
            return [OpenSession(*row, current=row[0] == current) for row in db.execute(statement)]

    def end_session(self, db: Session, user_id: UUID, session_id: UUID) -> None:
        """End one of the user's logins; its tokens stop working everywhere. Raises SessionNotFound."""
        with transaction(db):
            if not self._end(db, user_id, LoginSession.id == session_id):
                raise SessionNotFound

    def end_other_sessions(self, db: Session, user_id: UUID, current: UUID | None) -> None:
        """End all of the user's logins but the one that asks."""
        with transaction(db):
            self._end(db, user_id, LoginSession.id != current)

    def _end(self, db: Session, user_id: UUID, which: ColumnElement[bool]) -> bool:
        statement = update(LoginSession).where(LoginSession.user_id == user_id, which, *_OPEN)
        revoked = statement.values(revoked_at=NOW, revoked_why="ended by its user").returning(LoginSession.id)
        ended = [str(session_id) for session_id in db.scalars(revoked)]
        if ended:
            audit.record(db, AuditEvent.SESSION_ENDED, Subject.user(user_id), sessions=ended)
        return bool(ended)


session_service = SessionService()
