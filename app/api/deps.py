"""What endpoints ask for, as named aliases."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import OAuth2PasswordBearer
from sqlalchemy.orm import Session

from app.core.origin import Actor, acts
from app.db.session import SessionLocal
from app.errors import AdminOnly, Unauthenticated
from app.live.watcher import Watcher
from app.services.auth_service import Principal, auth_service

oauth2_scheme = OAuth2PasswordBearer(
    tokenUrl="/api/v1/auth/login",
    refreshUrl="/api/v1/auth/refresh",
    scheme_name="Login",
    description="Log in with a username or an e-mail address, and a password.",
    auto_error=False,
)


def get_session() -> Iterator[Session]:
    """A session for one request. It takes a connection at its first statement and gives it back at each commit."""
    with SessionLocal() as db:
        yield db


# scope="function": the session is closed before the answer leaves, not after.
SessionDep = Annotated[Session, Depends(get_session, scope="function")]
BearerToken = Annotated[str | None, Depends(oauth2_scheme)]


def get_current_user(db: SessionDep, token: BearerToken) -> Principal:
    """Who is asking, as the database knows them now. Raises Unauthenticated or InvalidToken."""
    if token is None:
        raise Unauthenticated
    principal = auth_service.authenticate(db, token)
    acts(Actor(principal.id, principal.username))
    db.rollback()  # read, no more: the connection goes back, and a request that waits holds none
    return principal


CurrentUser = Annotated[Principal, Depends(get_current_user)]


async def get_admin(user: CurrentUser) -> Principal:
    """The same, for what only administrators may do. Raises AdminOnly."""
    if not user.is_admin:
        raise AdminOnly
    return user


AdminUser = Annotated[Principal, Depends(get_admin)]


async def get_watcher(request: Request) -> Watcher:
    """This process's watcher of tasks, started with the application."""
    watcher: Watcher = request.state.watcher
    return watcher


WatcherDep = Annotated[Watcher, Depends(get_watcher)]


async def get_client_address(request: Request) -> str:
    """The peer's address as the server saw it: never a header, which anybody can write.

    Behind a proxy, uvicorn's --forwarded-allow-ips names whose `X-Forwarded-For` counts.
    """
    return request.client.host if request.client else "unknown"


ClientAddress = Annotated[str, Depends(get_client_address)]
