"""Your logins: which there are, and ending them."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import Path, status

from app.api.deps import LoginUser, SessionDep
from app.api.http.problems import problems
from app.api.http.router import SlashRouter
from app.errors import LoginOnly, SessionNotFound
from app.schemas.auth import LoginSessionRead
from app.services.accounts.session_service import OpenSession, session_service

router = SlashRouter(prefix="/auth/sessions", tags=["auth"])

SessionId = Annotated[UUID, Path(description="The login's id.", examples=["019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d11"])]


@router.get(
    "",
    response_model=list[LoginSessionRead],
    response_description="Newest first",
    responses=problems(401, LoginOnly),
)
def list_sessions(db: SessionDep, user: LoginUser) -> Sequence[OpenSession]:
    """Your logins that stand, this one included."""
    return session_service.list_sessions(db, user.id, user.session_id)


@router.delete(
    "",
    status_code=status.HTTP_204_NO_CONTENT,
    response_description="All others are ended",
    responses=problems(401, LoginOnly),
)
def end_other_sessions(db: SessionDep, user: LoginUser) -> None:
    """End all of your logins but this one."""
    session_service.end_other_sessions(db, user.id, user.session_id)


@router.delete(
    "/{session_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    response_description="Ended",
    responses=problems(401, LoginOnly, SessionNotFound),
)
def end_session(db: SessionDep, user: LoginUser, session_id: SessionId) -> None:
    """End one of your logins: its access and refresh tokens stop working everywhere."""
    session_service.end_session(db, user.id, session_id)
