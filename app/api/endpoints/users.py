"""Endpoints of profiles, with the second factor and the secret of webhooks; and of user administration."""

from typing import Annotated
from uuid import UUID

from fastapi import Path, Request, Response, status

from app.api.deps import AdminUser, ClientAddress, CurrentUser, LoginUser, PasswordTurn, SessionDep
from app.api.http.body_route import body_limit
from app.api.http.problems import Answers, raises
from app.api.http.responses import Cursor, Limit, ListRenderer, Skip
from app.api.http.router import SlashRouter
from app.errors import (
    LastAdmin,
    SecondFactorNotFound,
    SecondFactorOff,
    SecondFactorSet,
    UserExists,
    UserHasTasks,
    UserNotFound,
    WeakPassword,
    WebhooksOff,
    WrongOneTimeCode,
    WrongPassword,
)
from app.models.user import User as UserRow
from app.schemas.user import (
    ManagedUser,
    PasswordChange,
    ProfileUpdate,
    RecoveryCodes,
    TotpBegin,
    TotpConfirm,
    TotpRemoval,
    TotpSecret,
    User,
    UserCreate,
    UserUpdate,
)
from app.schemas.webhook import WebhookSecret
from app.services.accounts.totp_service import NewFactor, totp_service
from app.services.user_service import USERS, user_service
from app.services.webhooks.service import webhook_service

router = SlashRouter(prefix="/users", tags=["users"])
TAG_DESCRIPTION = "Your profile. For administrators: all users."

# Two passwords of which each character takes two escapes.
PASSWORDS_BYTES = 32 * 1024

_USERS = ListRenderer(ManagedUser, USERS)
UserId = Annotated[
    UUID, Path(description="The user's id.", examples=["019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d11"]), Answers(UserNotFound)
]


@router.get("/me", response_model=User, response_description="Your profile")
def get_me(db: SessionDep, user: CurrentUser) -> UserRow:
    """Get your profile."""
    return user_service.get_user(db, user.id)


@router.patch("/me", response_model=User, response_description="The changed user")
@raises(UserExists, 429)
def update_me(db: SessionDep, user: LoginUser, body: ProfileUpdate, address: ClientAddress) -> UserRow:
    """Change your username or e-mail address. Omitted fields keep their values. Too many changes: 429."""
    return user_service.update_profile(db, user.id, body.model_dump(exclude_unset=True), address)


@router.put(
    "/me/password",
    status_code=status.HTTP_204_NO_CONTENT,
    response_description="The password has changed; log in again",
)
@raises(WrongPassword, WeakPassword, 429)
@body_limit(lambda _: PASSWORDS_BYTES)
def change_my_password(db: SessionDep, user: LoginUser, _turn: PasswordTurn, body: PasswordChange) -> None:
    """Change your password. All your logins end, including this one. Your API keys end only if you ask for it."""
    user_service.change_password(
        db, user.id, body.current_password, body.new_password, revoke_api_keys=body.revoke_api_keys
    )


@router.get("/", response_model=list[ManagedUser], response_description="Users, newest first")
def list_users(
    request: Request, db: SessionDep, _admin: AdminUser, limit: Limit = 50, skip: Skip = 0, cursor: Cursor = None
) -> Response:
    """List all users, newest first. The `Link` header names the next page. Administrators only."""
    page = user_service.list_users(db, limit=limit, skip=skip, cursor=cursor)
    return _USERS.page(request, page)


@router.post("/", response_model=ManagedUser, status_code=status.HTTP_201_CREATED, response_description="The new user")
@raises(UserExists, WeakPassword)
def create_user(db: SessionDep, _admin: AdminUser, _turn: PasswordTurn, body: UserCreate) -> UserRow:
    """Create a user of any role. This works while registration is closed too. Administrators only."""
    return user_service.create_user(db, **body.model_dump())


@router.get("/{user_id}", response_model=ManagedUser, response_description="The user")
def get_user(db: SessionDep, _admin: AdminUser, user_id: UserId) -> UserRow:
    """Get a user. Administrators only."""
    return user_service.get_user(db, user_id)


@router.patch("/{user_id}", response_model=ManagedUser, response_description="The changed user")
@raises(UserExists, LastAdmin)
def update_user(db: SessionDep, _admin: AdminUser, user_id: UserId, body: UserUpdate) -> UserRow:
    """Change a user. A new role or a deactivation ends the user's logins. Administrators only.

    The last active administrator must stay one: demotion and deactivation answer 409.
    """
    return user_service.update_user(db, user_id, body.model_dump(exclude_unset=True))


@router.delete(
    "/{user_id}", status_code=status.HTTP_204_NO_CONTENT, response_description="The user and the tasks are deleted"
)
@raises(UserHasTasks, LastAdmin)
def delete_user(db: SessionDep, _admin: AdminUser, user_id: UserId) -> None:
    """Delete a user and the user's ended tasks. A user with pending or running tasks: 409. Administrators only."""
    user_service.delete_user(db, user_id)


# -- Endpoints of the second factor (TOTP, RFC 6238) -------------------------------------------------------------------


@router.post(
    "/me/totp",
    response_model=TotpSecret,
    status_code=status.HTTP_201_CREATED,
    response_description="The secret, which only this answer shows",
)
@raises(WrongPassword, SecondFactorSet, SecondFactorOff, 429)
def begin_totp(db: SessionDep, user: LoginUser, _turn: PasswordTurn, body: TotpBegin) -> NewFactor:
    """Begin to set up a second factor. Add the secret to an authenticator app, then confirm with a code of it.

    Until then logins go on as before. Called again before that, it makes another secret.
    """
    return totp_service.begin(db, user, body.current_password)


@router.post(
    "/me/totp/confirm",
    response_model=RecoveryCodes,
    response_description="The recovery codes, which only this answer shows",
)
@raises(WrongOneTimeCode, SecondFactorNotFound, SecondFactorSet, 429)
def confirm_totp(db: SessionDep, user: LoginUser, body: TotpConfirm) -> RecoveryCodes:
    """Put the second factor in force. From now on each login needs `otp` as well.

    Your other logins end. API keys keep working.
    """
    return RecoveryCodes(recovery_codes=totp_service.confirm(db, user, body.otp))


@router.delete(
    "/me/totp",
    status_code=status.HTTP_204_NO_CONTENT,
    response_description="The second factor is removed; the password is enough",
)
@raises(WrongPassword, WrongOneTimeCode, SecondFactorNotFound, 429)
def remove_totp(db: SessionDep, user: LoginUser, _turn: PasswordTurn, body: TotpRemoval) -> None:
    """Remove your second factor, with its recovery codes. To use another device, remove it and set up a new one."""
    totp_service.remove(db, user, body.current_password, body.otp)


@router.delete(
    "/{user_id}/totp",
    status_code=status.HTTP_204_NO_CONTENT,
    response_description="The second factor is removed; the user's logins have ended",
)
@raises(SecondFactorNotFound)
def reset_totp(db: SessionDep, _admin: AdminUser, user_id: UserId) -> None:
    """Remove the second factor of a user who has lost it. All logins of the user end. Administrators only."""
    totp_service.reset(db, user_id)


# -- The endpoint of the secret that signs what goes to the `webhook_url` of tasks -------------------------------------


@router.get("/me/webhook-secret", response_model=WebhookSecret, response_description="Your secret")
@raises(WebhooksOff)
def get_webhook_secret(db: SessionDep, user: LoginUser) -> WebhookSecret:
    """Get the secret that signs `send_webhook` and the `webhook_url` of your tasks (Standard Webhooks 1.0).

    It changes only when the operator changes `WEBHOOK_SECRET`. During such a change, webhooks carry two signatures, of
    the new and of the old secret. This answer shows the new one, and the audit records that it was read.
    """
    return WebhookSecret(secret=webhook_service.show_secret(db, user.id))
