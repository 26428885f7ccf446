"""Endpoints of the second factor (TOTP, RFC 6238)."""

from fastapi import status

from app.api.deps import AdminUser, LoginUser, PasswordTurn, SessionDep
from app.api.endpoints.users import UserId
from app.api.http.problems import problems
from app.api.http.router import SlashRouter
from app.errors import (
    AdminOnly,
    InsufficientScope,
    LoginOnly,
    SecondFactorNotFound,
    SecondFactorOff,
    SecondFactorSet,
    UserNotFound,
    WrongOneTimeCode,
    WrongPassword,
)
from app.schemas.totp import RecoveryCodes, TotpBegin, TotpConfirm, TotpRemoval, TotpSecret
from app.services.accounts.totp_service import NewFactor, totp_service

router = SlashRouter(prefix="/users", tags=["users"])


@router.post(
    "/me/totp",
    response_model=TotpSecret,
    status_code=status.HTTP_201_CREATED,
    response_description="The secret, which only this answer shows",
    responses=problems(401, LoginOnly, WrongPassword, SecondFactorSet, SecondFactorOff, 429),
)
def begin_totp(db: SessionDep, user: LoginUser, _turn: PasswordTurn, body: TotpBegin) -> NewFactor:
    """Begin to set up a second factor. Add the secret to an authenticator app, then confirm with a code of it.

    Until then logins go on as before. Called again before that, it makes another secret.
    """
    return totp_service.begin(db, user, body.current_password)


@router.post(
    "/me/totp/confirm",
    response_model=RecoveryCodes,
    response_description="The recovery codes, which only this answer shows",
    responses=problems(401, LoginOnly, WrongOneTimeCode, SecondFactorNotFound, SecondFactorSet, 429),
)
def confirm_totp(db: SessionDep, user: LoginUser, body: TotpConfirm) -> RecoveryCodes:
    """Put the second factor in force. From now on each login needs `otp` as well.

    Your other logins end. API keys keep working.
    """
    return RecoveryCodes(recovery_codes=totp_service.confirm(db, user, body.otp))


@router.delete(
    "/me/totp",
    status_code=status.HTTP_204_NO_CONTENT,
    response_description="The second factor is removed; the password is enough",
    responses=problems(401, LoginOnly, WrongPassword, WrongOneTimeCode, SecondFactorNotFound, 429),
)
def remove_totp(db: SessionDep, user: LoginUser, _turn: PasswordTurn, body: TotpRemoval) -> None:
    """Remove your second factor, with its recovery codes. To use another device, remove it and set up a new one."""
    totp_service.remove(db, user, body.current_password, body.otp)


@router.delete(
    "/{user_id}/totp",
    status_code=status.HTTP_204_NO_CONTENT,
    response_description="The second factor is removed; the user's logins have ended",
    responses=problems(401, AdminOnly, InsufficientScope, UserNotFound, SecondFactorNotFound),
)
def reset_totp(db: SessionDep, _admin: AdminUser, user_id: UserId) -> None:
    """Remove the second factor of a user who has lost it. All logins of the user end. Administrators only."""
    totp_service.reset(db, user_id)
