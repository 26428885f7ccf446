"""The dependencies of the endpoints, as annotated types; and the warning of a proxy that is not trusted."""

import logging
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import OAuth2PasswordBearer, SecurityScopes
from sqlalchemy.orm import Session

from app.api.http.password_limits import PasswordTurns, Refusals
from app.api.http.peers import count_for_user
from app.api.http.problems import Answers
from app.api.http.turns import Authenticate
from app.core.config import Settings, get_settings
from app.core.origin import Actor, address_block, set_actor
from app.db.session import SessionLocal
from app.errors import AdminOnly, InsufficientScope, LoginOnly, TooManyRequests, Unauthenticated
from app.live.watcher import Watcher
from app.models.auth import Scope
from app.services.accounts.auth_service import Principal
from app.services.batched.authenticator import Authenticator, login_claims, proof_of
from app.services.batched.submitter import Submitter
from app.services.batched.task_reads import TaskLookup

logger = logging.getLogger(__name__)

oauth2_scheme = OAuth2PasswordBearer(
    tokenUrl="/api/v1/auth/login",
    refreshUrl="/api/v1/auth/refresh",
    scheme_name="Login",
    scopes={
        Scope.TASKS_READ.value: "Read your tasks.",
        Scope.TASKS_WRITE.value: "Create, change, cancel, retry and delete your tasks.",
        Scope.ADMIN.value: "Manage users, and reach the tasks of all users.",
    },
    description="Log in with a username or an e-mail address, and a password. Leave the client fields empty. Scopes "
    "limit API keys (`tsk_…`) only: a login has all rights of its user.",
    auto_error=False,
)


async def _settings() -> Settings:
    """Return the settings of this process. `async`, because a thread switch would cost more than the call."""
    return get_settings()


async def get_session() -> AsyncIterator[Session]:
    """Yield the session of one request. It takes a connection at its first statement and returns it at each commit.

    `async`, because two thread switches would cost more than opening and closing the session. `SlashRouter` has already
    closed the session in the endpoint's thread by the time it is closed here.
    """
    with SessionLocal() as db:
        yield db


SettingsDep = Annotated[Settings, Depends(_settings)]
# With scope="function" the session is closed before the response is sent, not after.
SessionDep = Annotated[Session, Depends(get_session, scope="function")]
BearerToken = Annotated[str | None, Depends(oauth2_scheme)]


# Where other services take a key or token, and this one does not.
_ELSEWHERE = ("x-api-key", "api-key", "apikey", "x-auth-token", "x-access-token")
_IN_QUERY = frozenset({"token", "access_token", "api_key", "apikey", "key"})


def unauthenticated(request: Request) -> Unauthenticated:
    """Return the error for a request without a bearer token (RFC 6750). It says how to send one that came elsewhere."""
    headers, query = request.headers, request.query_params.keys()
    if headers.get("authorization", "").strip().lower() == "bearer":
        return Unauthenticated(
            "The header `Authorization: Bearer …` holds no token: log in, and send the access_token of the answer"
        )
    if "authorization" in headers or any(name in headers for name in _ELSEWHERE) or query & _IN_QUERY:
        return Unauthenticated("Send the key or token in the header `Authorization: Bearer …`; it was found elsewhere")
    return Unauthenticated()


async def authenticated(request: Request, token: str | None, *scopes: str) -> Principal:
    """Return the user behind the token, as the database knows it now, and set it as the request's actor.

    Raises Unauthenticated, InvalidToken, InsufficientScope, TooManyInProgress, Overloaded.
    """
    if not token:
        raise unauthenticated(request)
    authenticator: Authenticator = request.state.authenticator
    user = await act_as_user(request, partial(authenticator.authenticate, proof_of(token), address_of(request)))
    for scope in scopes:
        user.check_scope(scope)
    return user


async def act_as_user(request: Request, authenticate: Authenticate) -> Principal:
    """Authenticate the request's user, set them as its actor, and return them. Raises TooManyInProgress besides."""
    user = await authenticate()
    count_for_user(request, user.id)
    set_actor(Actor(user.id, user.username))
    # What a long wait is compared with (`app/api/http/turns.py`).
    request.scope["state"].update(principal=user, authenticate=authenticate)
    return user


async def check_token(request: Request, ask_database: bool) -> None:
    """Check the token before the body is read: its signature, or an API key's checksum.

    With `ask_database`, authenticate it too. Raises Unauthenticated, InvalidToken.
    """
    token = await oauth2_scheme(request)
    if not token:
        raise unauthenticated(request)
    login_claims(token)
    if ask_database:
        await authenticated(request, token)


async def get_current_user(request: Request, token: BearerToken) -> Principal:
    """Return the user behind the token. Raises Unauthenticated, InvalidToken."""
    return await authenticated(request, token)


CurrentUser = Annotated[Principal, Depends(get_current_user), Answers(401)]


async def get_login_user(user: CurrentUser) -> Principal:
    """Return the user, for endpoints that no API key may call. Raises LoginOnly besides."""
    user.check_login()
    return user


async def get_scoped_user(request: Request, token: BearerToken, needed: SecurityScopes) -> Principal:
    """Return the user, for endpoints that need a scope. Raises InsufficientScope besides.

    Does not use `CurrentUser`, because each dependency adds to the time of most requests.
    """
    return await authenticated(request, token, *needed.scopes)


async def get_admin(user: CurrentUser) -> Principal:
    """Return the user, for endpoints of administrators. Raises AdminOnly, InsufficientScope besides."""
    user.check_admin()
    return user


# Use one of these for each route: FastAPI would query the database again for each other set of scopes.
LoginUser = Annotated[Principal, Depends(get_login_user), Answers(401, LoginOnly)]
TaskReader = Annotated[
    Principal, Security(get_scoped_user, scopes=[Scope.TASKS_READ.value]), Answers(401, InsufficientScope)
]
TaskWriter = Annotated[
    Principal, Security(get_scoped_user, scopes=[Scope.TASKS_WRITE.value]), Answers(401, InsufficientScope)
]
AdminUser = Annotated[
    Principal, Security(get_admin, scopes=[Scope.ADMIN.value]), Answers(401, AdminOnly, InsufficientScope)
]


async def get_watcher(request: Request) -> Watcher:
    """Return the watcher of this process, which starts with the application."""
    watcher: Watcher = request.state.watcher
    return watcher


WatcherDep = Annotated[Watcher, Depends(get_watcher)]


async def get_submitter(request: Request) -> Submitter:
    submitter: Submitter = request.state.submitter
    return submitter


async def get_task_lookup(request: Request) -> TaskLookup:
    lookup: TaskLookup = request.state.task_lookup
    return lookup


SubmitterDep = Annotated[Submitter, Depends(get_submitter)]
TaskLookupDep = Annotated[TaskLookup, Depends(get_task_lookup)]


def address_of(request: Request) -> str:
    """Return the peer's address, "unknown" without one. Clients can forge headers, so none is read.

    Behind a proxy, uvicorn's --forwarded-allow-ips names the proxies whose `X-Forwarded-For` counts.
    """
    client = request.scope.get("client")  # `request.client` builds an object
    return client[0] if client else "unknown"


async def get_client_address(request: Request) -> str:
    """Return the peer's address, for what is counted by it. Warns of a proxy that is not trusted."""
    proxies: UntrustedProxies | None = getattr(request.state, "untrusted_proxies", None)  # not there without a start
    if proxies is not None:
        proxies.look(request)
    return address_of(request)


ClientAddress = Annotated[str, Depends(get_client_address)]


async def take_turn(request: Request, address: ClientAddress) -> AsyncIterator[None]:
    """Wait for a turn of this address block to hash a password, and hold it for the endpoint. Raises Overloaded."""
    turns: PasswordTurns = request.state.password_turns
    async with turns.turn(address_block(address)):
        yield


# For each endpoint that hashes a password, behind the parameter that authenticates the user.
PasswordTurn = Annotated[None, Depends(take_turn, scope="function")]


async def take_login_turn(request: Request, address: ClientAddress) -> AsyncIterator[None]:
    """Take a turn as `take_turn` does, unless this login has to wait. Raises TooManyRequests besides."""
    refusals: Refusals = request.state.refusals
    turns: PasswordTurns = request.state.password_turns
    block, name = address_block(address), str((await request.form()).get("username", ""))  # FastAPI has read it
    refusals.check(block, name)
    async with turns.turn(block):
        try:
            yield
        except TooManyRequests as refusal:
            refusals.note(block, name, refusal)
            raise


LoginTurn = Annotated[None, Depends(take_login_turn, scope="function")]


# -- The warning of a proxy that uvicorn does not trust: all clients behind it share one address -----------------------

PROXY_REPEAT_SECONDS = 3600.0
_FORWARDED = ("x-forwarded-for", "forwarded")


class UntrustedProxies:
    """Logs requests whose forwarded address does not count, at most one line an hour."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = float("-inf")

    def look(self, request: Request) -> None:
        """Log if the request names a client that is not taken for its peer."""
        peer = request.client.host if request.client else ""
        # From a trusted proxy, uvicorn has put one of the addresses in X-Forwarded-For in the place of the peer's.
        forwarded = [value for name in _FORWARDED for value in request.headers.getlist(name)]
        if not forwarded or (peer and any(peer in value for value in request.headers.getlist(_FORWARDED[0]))):
            return
        now = self._clock()
        if now < self._next:
            return
        self._next = now + PROXY_REPEAT_SECONDS
        logger.warning(
            "X-Forwarded-For or Forwarded from %s does not count: if this is your proxy, all its clients share one"
            " address and its limits. Name the proxy in FORWARDED_ALLOW_IPS, and let it send X-Forwarded-For",
            peer or "an unknown peer",
        )
