"""Endpoints of profiles and of user administration."""

from typing import Annotated
from uuid import UUID

from fastapi import Path, Request, Response, status

from app.api.deps import AdminUser, ClientAddress, CurrentUser, LoginUser, PasswordTurn, SessionDep
from app.api.http.body_route import body_limit
from app.api.http.paging import LINK_HEADER, Cursor, Limit, Skip, read_cursor
from app.api.http.problems import problems
from app.api.http.rendering import ListRenderer
from app.api.http.router import SlashRouter
from app.errors import (
    AdminOnly,
    InsufficientScope,
    InvalidCursor,
    LastAdmin,
    LoginOnly,
    UserExists,
    UserHasTasks,
    UserNotFound,
    WeakPassword,
    WrongPassword,
)
from app.models.user import User as UserRow
from app.schemas.user import ManagedUser, PasswordChange, ProfileUpdate, User, UserCreate, UserUpdate
from app.services.user_service import user_service

router = SlashRouter(prefix="/users", tags=["users"])
TAG_DESCRIPTION = "Your profile. For administrators: all users."

# Two passwords of which each character takes two escapes.
PASSWORDS_BYTES = 32 * 1024

_USERS = ListRenderer(ManagedUser)
UserId = Annotated[UUID, Path(description="The user's id.", examples=["019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d11"])]


@router.get("/me", response_model=User, response_description="Your profile", responses=problems(401))
def get_me(db: SessionDep, user: CurrentUser) -> UserRow:
    """Get your profile."""
    return user_service.get_user(db, user.id)


@router.patch(
    "/me",
    response_model=User,
    response_description="The changed user",
    responses=problems(401, LoginOnly, UserExists, 429),
)
def update_me(db: SessionDep, user: LoginUser, body: ProfileUpdate, address: ClientAddress) -> UserRow:
    """Change your username or e-mail address. Omitted fields keep their values. Too many changes: 429."""
    return user_service.update_profile(db, user.id, body.model_dump(exclude_unset=True), address)


@router.put(
    "/me/password",
    status_code=status.HTTP_204_NO_CONTENT,
    response_description="The password has changed; log in again",
    responses=problems(401, LoginOnly, WrongPassword, WeakPassword, 429),
)
@body_limit(lambda _: PASSWORDS_BYTES)
def change_my_password(db: SessionDep, user: LoginUser, _turn: PasswordTurn, body: PasswordChange) -> None:
    """Change your password. All your logins end, including this one. Your API keys end only if you ask for it."""
    user_service.change_password(
        db, user.id, body.current_password, body.new_password, revoke_api_keys=body.revoke_api_keys
    )


@router.get(
    "/",
    response_model=list[ManagedUser],
    response_description="Users, newest first",
    responses={200: {"headers": LINK_HEADER}, **problems(401, AdminOnly, InsufficientScope, InvalidCursor)},
)
def list_users(
    request: Request, db: SessionDep, _admin: AdminUser, limit: Limit = 50, skip: Skip = 0, cursor: Cursor = None
) -> Response:
    """List all users, newest first. The `Link` header names the next page. Administrators only."""
    page = user_service.list_users(db, limit=limit, skip=skip, before=read_cursor(cursor))
    return _USERS.page(request, page, lambda user: user.id)


@router.post(
    "/",
    response_model=ManagedUser,
    status_code=status.HTTP_201_CREATED,
    response_description="The new user",
    responses=problems(401, AdminOnly, InsufficientScope, UserExists, WeakPassword),
)
def create_user(db: SessionDep, _admin: AdminUser, _turn: PasswordTurn, body: UserCreate) -> UserRow:
    """Create a user of any role. This works while registration is closed too. Administrators only."""
    return user_service.create_user(db, **body.model_dump())


@router.get(
    "/{user_id}",
    response_model=ManagedUser,
    response_description="The user",
    responses=problems(401, AdminOnly, InsufficientScope, UserNotFound),
)
def get_user(db: SessionDep, _admin: AdminUser, user_id: UserId) -> UserRow:
    """Get a user. Administrators only."""
    return user_service.get_user(db, user_id)


@router.patch(
    "/{user_id}",
    response_model=ManagedUser,
    response_description="The changed user",
    responses=problems(401, AdminOnly, InsufficientScope, UserNotFound, UserExists, LastAdmin),
)
def update_user(db: SessionDep, _admin: AdminUser, user_id: UserId, body: UserUpdate) -> UserRow:
    """Change a user. A new role or a deactivation ends the user's logins. Administrators only.

    The last active administrator must stay one: demotion and deactivation answer 409.
    """
    return user_service.update_user(db, user_id, body.model_dump(exclude_unset=True))


@router.delete(
    "/{user_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    response_description="The user and the tasks are deleted",
    responses=problems(401, AdminOnly, InsufficientScope, UserNotFound, UserHasTasks, LastAdmin),
)
def delete_user(db: SessionDep, _admin: AdminUser, user_id: UserId) -> None:
    """Delete a user and the user's ended tasks. A user with pending or running tasks: 409. Administrators only."""
    user_service.delete_user(db, user_id)
