"""Who may use a page: the login behind the cookie, and no other site on the reader's behalf."""

from contextlib import suppress
from functools import partial
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import APIKeyCookie

from app.api.deps import act_as_user, address_of
from app.core.security import read_page_token
from app.errors import AdminOnly, CrossOrigin, InvalidToken, ServiceError, Unauthenticated
from app.live.streams import Credential
from app.services.accounts.auth_service import Principal
from app.services.batched.authenticator import Authenticator
from app.web.cookies import session_token

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
# Only a name for the dependency that reads the cookie: `bound_bodies` looks for it.
cookie_scheme = APIKeyCookie(name="session", auto_error=False)


async def check_same_origin(request: Request) -> None:
    """Raise CrossOrigin for a change that no page of this origin sent (OWASP: Cross-Site Request Forgery Prevention).

    Browsers send Origin with each POST, and all current ones Sec-Fetch-Site too. Whoever is signed in is named in the
    record of the refusal.
    """
    if request.method in _SAFE:
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    own = f"{request.url.scheme}://{request.headers.get('host', '')}"
    if (site is None and origin is None) or site not in {None, "same-origin"} or origin not in {None, own}:
        with suppress(ServiceError):
            await page_user(request)
        raise CrossOrigin


def page_token(request: Request) -> str:
    """Return the token of the cookie. Raises Unauthenticated."""
    token = session_token(request)
    if not token:
        raise Unauthenticated
    return token


async def page_user(request: Request, _scheme: Annotated[str | None, Depends(cookie_scheme)] = None) -> Principal:
    """Return the user who is signed in. Raises Unauthenticated, InvalidToken."""
    token = page_token(request)
    authenticator: Authenticator = request.state.authenticator
    return await act_as_user(request, partial(authenticator.authenticate, read_page_token(token), address_of(request)))


async def check_cookie(request: Request, ask_database: bool) -> None:
    """Check the cookie before a body is read, as `deps.check_token` does with tokens."""
    read_page_token(page_token(request))
    if ask_database:
        await page_user(request)


PageUser = Annotated[Principal, Depends(page_user)]


async def page_admin(user: PageUser) -> Principal:
    """Return the administrator who is signed in. Raises AdminOnly."""
    if not user.is_admin:
        raise AdminOnly
    return user


PageAdmin = Annotated[Principal, Depends(page_admin)]


def credential_of(request: Request, user: Principal) -> Credential:
    """Return the login that a stream ends with."""
    if user.session_id is None:
        raise InvalidToken
    expires_at = read_page_token(page_token(request)).expires_at
    return Credential(user.session_id, is_key=False, role=user.role, expires_at=expires_at)
