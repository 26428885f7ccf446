"""Endpoints of registration and logins."""

from typing import Annotated

from fastapi import Form, Header, status

from app.api.deps import ClientAddress, LoginTurn, LoginUser, PasswordTurn, SessionDep
from app.api.http.problems import problems
from app.api.http.router import SlashRouter
from app.errors import (
    InvalidCredentials,
    InvalidToken,
    LoginOnly,
    RegistrationClosed,
    SecondFactorRequired,
    UserExists,
    WeakPassword,
)
from app.models.user import User as UserRow
from app.schemas.auth import LoginForm, RefreshRequest, TokenPair
from app.schemas.user import Registration, User
from app.services.accounts.auth_service import Tokens, auth_service
from app.services.user_service import user_service

router = SlashRouter(prefix="/auth", tags=["auth"])
TAG_DESCRIPTION = "Registration, logins and their tokens, API keys."


@router.post(
    "/register",
    response_model=User,
    status_code=status.HTTP_201_CREATED,
    response_description="The new user",
    responses=problems(RegistrationClosed, UserExists, WeakPassword, 429),
)
def register(db: SessionDep, body: Registration, address: ClientAddress, _turn: PasswordTurn) -> UserRow:
    """Create an account with the role `user`.

    `ALLOW_REGISTRATION=false` closes this operation: 403. Too many registrations from one address: 429.
    """
    return user_service.register(db, body.username, body.email, body.password, address)


@router.post(
    "/login",
    response_model=TokenPair,
    response_description="The tokens of a new login",
    responses=problems(InvalidCredentials, SecondFactorRequired, 429),
)
def login(
    db: SessionDep,
    form: Annotated[LoginForm, Form()],
    address: ClientAddress,
    _turn: LoginTurn,
    user_agent: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Tokens:
    """Log in with a username or an e-mail address, and a password.

    An account with a second factor needs `otp` too. The right password without it, or with a wrong one, is answered 401
    `second_factor_required`.

    After ten failures of an account from one address, its logins from there answer 429 until `Retry-After` has passed.
    Each further failure doubles the wait. After a hundred failures in a row, other addresses answer so too, unless the
    account has signed in from there. Too many failures from one address slow down the accounts that are new there. Too
    many successful logins answer 429 too. Open logins keep working.
    """
    return auth_service.login(db, form.username, form.password, address, form.otp, user_agent)


@router.post(
    "/refresh",
    response_model=TokenPair,
    response_description="New tokens; the old refresh token no longer works",
    responses=problems(InvalidToken, 429),
)
def refresh_tokens(db: SessionDep, body: RefreshRequest) -> Tokens:
    """Exchange a refresh token for new tokens. Each refresh token works once: a second use ends the whole login.

    Too many refreshes of one login: 429, and the token stays unused.
    """
    return auth_service.refresh(db, body.refresh_token)


@router.post(
    "/logout",
    status_code=status.HTTP_204_NO_CONTENT,
    response_description="Logged out",
    responses=problems(401, LoginOnly),
)
def logout(db: SessionDep, user: LoginUser) -> None:
    """End this login. Its access and refresh tokens stop working at once. API keys keep working."""
    auth_service.logout(db, user)
