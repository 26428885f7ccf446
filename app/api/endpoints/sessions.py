"""Endpoints of open logins."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import Path, status

from app.api.deps import LoginUser, SessionDep
from app.api.http.problems import problems
from app.api.http.router import SlashRouter
from app.errors import LoginOnly, SessionNotFound
from app.schemas.auth import LoginSessionRead
from app.services.accounts.sessions import OpenSession, session_service

router = SlashRouter(prefix="/auth/sessions", tags=["auth"])

SessionId = Annotated[UUID, Path(description="The login's id.", examples=["019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d11"])]


@router.get(
    "",
    response_model=list[LoginSessionRead],
    response_description="Open logins, newest first",
    responses=problems(401, LoginOnly),
)
def list_sessions(db: SessionDep, user: LoginUser) -> Sequence[OpenSession]:
    """List your open logins, including this one."""
    return session_service.list_sessions(db, user.id, user.session_id)


@router.delete(
    "",
    status_code=status.HTTP_204_NO_CONTENT,
    response_description="All other logins have ended",
    responses=problems(401, LoginOnly),
)
def end_other_sessions(db: SessionDep, user: LoginUser) -> None:
    """End all your logins except this one."""
    session_service.end_other_sessions(db, user.id, user.session_id)


@router.delete(
    "/{session_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    response_description="The login has ended",
    responses=problems(401, LoginOnly, SessionNotFound),
)
def end_session(db: SessionDep, user: LoginUser, session_id: SessionId) -> None:
    """End one of your logins. Its access and refresh tokens stop working at once."""
    session_service.end_session(db, user.id, session_id)
