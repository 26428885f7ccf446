"""Endpoints of registration, logins and API keys. Only a login manages logins and keys."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import Form, Header, Path, Request, Response, status

from app import errors
from app.api.deps import ClientAddress, LoginTurn, LoginUser, PasswordTurn, SessionDep
from app.api.http.problems import Answers, raises
from app.api.http.responses import Cursor, Limit, ListRenderer, Skip
from app.api.http.router import SlashRouter
from app.models.auth import ApiKey
from app.models.user import User as UserRow
from app.schemas.auth import (
    ApiKeyCreate,
    ApiKeyCreated,
    ApiKeyRead,
    LoginForm,
    LoginSessionRead,
    RefreshRequest,
    TokenPair,
)
from app.schemas.user import Registration, User
from app.services.accounts.api_keys import API_KEYS, api_key_service
from app.services.accounts.auth_service import Tokens, auth_service
from app.services.accounts.sessions import OpenSession, session_service
from app.services.user_service import user_service

router = SlashRouter(prefix="/auth", tags=["auth"])
TAG_DESCRIPTION = "Registration, logins and their tokens, API keys."


@router.post("/register", response_model=User, status_code=status.HTTP_201_CREATED, response_description="The new user")
@raises(errors.RegistrationClosed, errors.UserExists, errors.WeakPassword, 429)
def register(db: SessionDep, body: Registration, address: ClientAddress, _turn: PasswordTurn) -> UserRow:
    """Create an account with the role `user`.

    `ALLOW_REGISTRATION=false` closes this operation: 403. Too many registrations from one address: 429.
    """
    return user_service.register(db, body.username, body.email, body.password, address)


@router.post("/login", response_model=TokenPair, response_description="The tokens of a new login")
@raises(errors.InvalidCredentials, errors.SecondFactorRequired, 429)
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
    "/refresh", response_model=TokenPair, response_description="New tokens; the old refresh token no longer works"
)
@raises(errors.InvalidToken, 429)
def refresh_tokens(db: SessionDep, body: RefreshRequest) -> Tokens:
    """Exchange a refresh token for new tokens. Each refresh token works once: a second use ends the whole login.

    Too many refreshes of one login: 429, and the token stays unused.
    """
    return auth_service.refresh(db, body.refresh_token)


@router.post("/logout", status_code=status.HTTP_204_NO_CONTENT, response_description="Logged out")
def logout(db: SessionDep, user: LoginUser) -> None:
    """End this login. Its access and refresh tokens stop working at once. API keys keep working."""
    auth_service.logout(db, user)


# -- Endpoints of open logins ------------------------------------------------------------------------------------------

SessionId = Annotated[
    UUID,
    Path(description="The login's id.", examples=["019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d11"]),
    Answers(errors.SessionNotFound),
]


@router.get("/sessions", response_model=list[LoginSessionRead], response_description="Open logins, newest first")
def list_sessions(db: SessionDep, user: LoginUser) -> Sequence[OpenSession]:
    """List your open logins, including this one."""
    return session_service.list_sessions(db, user.id, user.session_id)


@router.delete("/sessions", status_code=status.HTTP_204_NO_CONTENT, response_description="All other logins have ended")
def end_other_sessions(db: SessionDep, user: LoginUser) -> None:
    """End all your logins except this one."""
    session_service.end_other_sessions(db, user.id, user.session_id)


@router.delete(
    "/sessions/{session_id}", status_code=status.HTTP_204_NO_CONTENT, response_description="The login has ended"
)
def end_session(db: SessionDep, user: LoginUser, session_id: SessionId) -> None:
    """End one of your logins. Its access and refresh tokens stop working at once."""
    session_service.end_session(db, user.id, session_id)


# -- Endpoints of API keys ---------------------------------------------------------------------------------------------

_KEYS = ListRenderer(ApiKeyRead, API_KEYS)
KeyId = Annotated[
    UUID,
    Path(description="The key's id.", examples=["019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d11"]),
    Answers(errors.ApiKeyNotFound),
]


@router.post(
    "/api-keys",
    response_model=ApiKeyCreated,
    status_code=status.HTTP_201_CREATED,
    response_description="The new key, which only this answer shows",
)
@raises(errors.AdminOnly, errors.ApiKeyLimit, 429)
def create_api_key(db: SessionDep, user: LoginUser, body: ApiKeyCreate) -> ApiKeyCreated:
    """Create an API key for a program. Store it now: the service keeps a digest and cannot show the key again.

    The key works until it expires or is revoked. Logouts and password changes do not end it. Its rights never exceed
    your own rights at the time of a request. Too many new keys: 429.
    """
    made = api_key_service.create_key(db, user.id, body.name, body.scopes, body.expires_at)
    return ApiKeyCreated.of(made.row, made.key)


@router.get("/api-keys", response_model=list[ApiKeyRead], response_description="API keys, newest first")
def list_api_keys(
    request: Request, db: SessionDep, user: LoginUser, limit: Limit = 50, skip: Skip = 0, cursor: Cursor = None
) -> Response:
    """List your API keys, newest first. The list includes recently revoked and expired keys."""
    page = api_key_service.list_keys(db, user.id, limit=limit, skip=skip, cursor=cursor)
    return _KEYS.page(request, page)


@router.get("/api-keys/{key_id}", response_model=ApiKeyRead, response_description="The key, without its secret")
def get_api_key(db: SessionDep, user: LoginUser, key_id: KeyId) -> ApiKey:
    """Get one of your API keys."""
    return api_key_service.get_key(db, user.id, key_id)


@router.delete("/api-keys/{key_id}", status_code=status.HTTP_204_NO_CONTENT, response_description="The key is revoked")
def revoke_api_key(db: SessionDep, user: LoginUser, key_id: KeyId) -> None:
    """Revoke an API key. It stops working at once, and the list shows it as revoked. Repeating this is harmless."""
    api_key_service.revoke_key(db, user.id, key_id)
