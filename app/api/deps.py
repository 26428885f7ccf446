"""What endpoints ask for, as named aliases."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import OAuth2PasswordBearer, SecurityScopes
from sqlalchemy.orm import Session

from app.core.origin import Actor, acts
from app.db.session import SessionLocal
from app.errors import Unauthenticated
from app.live.watcher import Watcher
from app.models.api_key import Scope
from app.services.accounts.auth_service import Principal
from app.services.batched.authenticator import Authenticator
from app.services.batched.submitter import Submitter
from app.services.batched.task_lookup import TaskLookup

oauth2_scheme = OAuth2PasswordBearer(
    tokenUrl="/api/v1/auth/login",
    refreshUrl="/api/v1/auth/refresh",
    scheme_name="Login",
    scopes={
        Scope.TASKS_READ.value: "Read your tasks.",
        Scope.TASKS_WRITE.value: "Create, change, cancel, retry and delete your tasks.",
        Scope.ADMIN.value: "What administrators may do: everybody's tasks, users.",
    },
    description="Log in with a username or an e-mail address, and a password; or send an API key (`tsk_…`) as the "
    "bearer token. Scopes limit API keys alone: a login may do all that its user may, whatever is ticked.",
    auto_error=False,
)


async def get_session() -> AsyncIterator[Session]:
    """A session for one request. It takes a connection at its first statement and gives it back at each commit.

    `async`, since a thread each for making and closing it costs more than both: `SlashRouter` has closed it, in the
    endpoint's thread, by the time it is closed here.
    """
    with SessionLocal() as db:
        yield db


# scope="function": the session is closed before the answer leaves, not after.
SessionDep = Annotated[Session, Depends(get_session, scope="function")]
BearerToken = Annotated[str | None, Depends(oauth2_scheme)]


async def authenticated(request: Request, token: str | None, *scopes: str) -> Principal:
    """Who is asking, as the database knows them now. Raises Unauthenticated, InvalidToken, InsufficientScope."""
    if token is None:
        raise Unauthenticated
    authenticator: Authenticator = request.state.authenticator
    user = await authenticator.authenticate(token)
    acts(Actor(user.id, user.username))
    for scope in scopes:
        user.check_scope(scope)
    return user


async def get_current_user(request: Request, token: BearerToken) -> Principal:
    """Who is asking. Raises Unauthenticated or InvalidToken."""
    return await authenticated(request, token)


CurrentUser = Annotated[Principal, Depends(get_current_user)]


async def get_login_user(user: CurrentUser) -> Principal:
    """The same, for what an API key may not do whatever its scopes. Raises LoginOnly."""
    user.check_login()
    return user


async def get_scoped_user(request: Request, token: BearerToken, needed: SecurityScopes) -> Principal:
    """The same, for what an API key needs a scope for. Raises InsufficientScope.

    Not by way of `CurrentUser`: each dependency costs FastAPI 0.01 ms, and most requests come through here.
    """
    return await authenticated(request, token, *needed.scopes)


async def get_admin(user: CurrentUser) -> Principal:
    """The same, for what only administrators may do. Raises AdminOnly, InsufficientScope."""
    user.check_admin()
    return user


# One of these a route: FastAPI would ask the database again for each other set of scopes.
LoginUser = Annotated[Principal, Depends(get_login_user)]
TaskReader = Annotated[Principal, Security(get_scoped_user, scopes=[Scope.TASKS_READ.value])]
TaskWriter = Annotated[Principal, Security(get_scoped_user, scopes=[Scope.TASKS_WRITE.value])]
AdminUser = Annotated[Principal, Security(get_admin, scopes=[Scope.ADMIN.value])]


async def get_watcher(request: Request) -> Watcher:
    """This process's watcher of tasks, started with the application."""
    watcher: Watcher = request.state.watcher
    return watcher


WatcherDep = Annotated[Watcher, Depends(get_watcher)]


async def get_submitter(request: Request) -> Submitter:
    """This process's way in for new tasks."""
    submitter: Submitter = request.state.submitter
    return submitter


async def get_task_lookup(request: Request) -> TaskLookup:
    """This process's way to read single tasks."""
    lookup: TaskLookup = request.state.task_lookup
    return lookup


SubmitterDep = Annotated[Submitter, Depends(get_submitter)]
TaskLookupDep = Annotated[TaskLookup, Depends(get_task_lookup)]


async def get_client_address(request: Request) -> str:
    """The peer's address as the server saw it: never a header, which anybody can write.

    Behind a proxy, uvicorn's --forwarded-allow-ips names whose `X-Forwarded-For` counts.
    """
    return request.client.host if request.client else "unknown"


ClientAddress = Annotated[str, Depends(get_client_address)]
