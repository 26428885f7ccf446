"""Registration and logins."""

from typing import Annotated

from fastapi import Depends, status
from fastapi.security import OAuth2PasswordRequestForm

from app.api.deps import ClientAddress, LoginUser, SessionDep
from app.api.http.problems import problems
from app.api.http.router import SlashRouter
from app.errors import InvalidCredentials, InvalidToken, LoginOnly, RegistrationClosed, UserExists, WeakPassword
from app.models.user import User as UserRow
from app.schemas.auth import RefreshRequest, TokenPair
from app.schemas.user import Registration, User
from app.services.accounts.auth_service import Tokens, auth_service
from app.services.user_service import user_service

router = SlashRouter(prefix="/auth", tags=["auth"])


@router.post(
    "/register",
    response_model=User,
    status_code=status.HTTP_201_CREATED,
    response_description="The new user",
    responses=problems(RegistrationClosed, UserExists, WeakPassword, 429),
)
def register(db: SessionDep, body: Registration, address: ClientAddress) -> UserRow:
    """Sign up as an ordinary user. Closed with `ALLOW_REGISTRATION=false`; too many from one address have to wait."""
    return user_service.register(db, body.username, body.email, body.password, address)


@router.post(
    "/login",
    response_model=TokenPair,
    response_description="The tokens of a new login",
    responses=problems(InvalidCredentials, 429),
)
def login(db: SessionDep, form: Annotated[OAuth2PasswordRequestForm, Depends()], address: ClientAddress) -> Tokens:
    """Log in with a username or an e-mail address.

    Too many failures of one account or from one address answer 429 until the window is over; logins that stand are
    not touched by that.
    """
    return auth_service.login(db, form.username, form.password, address)


@router.post(
    "/refresh",
    response_model=TokenPair,
    response_description="A new pair; the old refresh token is used up",
    responses=problems(InvalidToken),
)
def refresh(db: SessionDep, body: RefreshRequest) -> Tokens:
    """Exchange a refresh token for a new pair. A token that was used before ends its whole login."""
    return auth_service.refresh(db, body.refresh_token)


@router.post(
    "/logout",
    status_code=status.HTTP_204_NO_CONTENT,
    response_description="Logged out",
    responses=problems(401, LoginOnly),
)
def logout(db: SessionDep, user: LoginUser) -> None:
    """End this login: its access and refresh tokens stop working everywhere. API keys are not touched."""
    auth_service.logout(db, user)
