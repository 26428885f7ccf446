"""Who may use a page: the login behind the cookie, and no other site on the reader's behalf.

First come the cookies: the login's, the choices of language, theme and times, and the notice of the next page.

The login's cookie is `__Host-session`: no other host and no plain http can set it. On plain http it is `session`, and
only where the browser reaches the service over a loopback address without a proxy; elsewhere nobody signs in without
https.
"""

import ipaddress
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request, Response
from fastapi.security import APIKeyCookie

from app.api.deps import act_as_user, address_of
from app.core.security import read_page_token
from app.errors import AdminOnly, CrossOrigin, ServiceError, Unauthenticated
from app.live.streams import Credential
from app.services.accounts.auth_service import Principal
from app.services.batched.authenticator import Authenticator

SECURE_NAME, LOOPBACK_NAME = "__Host-session", "session"
CHOICE_SECONDS = 365 * 24 * 3600
_PROXY_HEADERS = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")


def is_secure(request: Request) -> bool:
    return request.url.scheme == "https"


def may_sign_in(request: Request) -> bool:
    """Return whether the cookie stays between the browser and this service."""
    return is_secure(request) or (_is_loopback(request) and not _is_proxied(request))


def session_token(request: Request) -> str | None:
    """Return the token of the login's cookie. A name that does not belong to this scheme and host is not read."""
    if is_secure(request):
        return request.cookies.get(SECURE_NAME)
    return request.cookies.get(LOOPBACK_NAME) if may_sign_in(request) else None


def set_session(request: Request, response: Response, token: str, expires_at: datetime) -> None:
    """Set the login's cookie. It lasts as long as the login."""
    seconds = int((expires_at - datetime.now(UTC)).total_seconds())
    _set_session_cookie(request, response, token, seconds)


def delete_session(request: Request, response: Response) -> None:
    _set_session_cookie(request, response, "", 0)


def set_choice(request: Request, response: Response, name: str, value: str) -> None:
    """Remember a choice of the reader. It says nothing about who the reader is."""
    response.set_cookie(
        name, value, max_age=CHOICE_SECONDS, path="/ui", secure=is_secure(request), httponly=True, samesite="lax"
    )


NOTICE = "notice"
NOTICE_SECONDS = 60


def set_notice(request: Request, response: Response, code: str) -> None:
    """Have the next page say that a change is done. `code` is one of `done` in parts.html."""
    response.set_cookie(
        NOTICE, code, max_age=NOTICE_SECONDS, path="/ui", secure=is_secure(request), httponly=True, samesite="lax"
    )


def delete_notice(request: Request, response: Response) -> None:
    response.set_cookie(NOTICE, "", max_age=0, path="/ui", secure=is_secure(request), httponly=True, samesite="lax")


def _set_session_cookie(request: Request, response: Response, value: str, seconds: int) -> None:
    secure = is_secure(request)
    response.set_cookie(
        SECURE_NAME if secure else LOOPBACK_NAME,
        value,
        max_age=seconds,
        path="/",
        secure=secure,
        httponly=True,
        samesite="lax",
    )


def _is_loopback(request: Request) -> bool:
    host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_proxied(request: Request) -> bool:
    return any(name in request.headers for name in _PROXY_HEADERS)


# -- The dependencies of the pages: who the reader is, and that no other site has sent the change ----------------------

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
    return Credential.of(user, read_page_token(page_token(request)).expires_at)
