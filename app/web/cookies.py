"""The cookies of the pages: the login's, and the choices of language, theme and times.

The login's is `__Host-session`: no other host and no plain http can set it. On plain http it is `session`, and only
where the browser reaches the service over a loopback address without a proxy; elsewhere nobody signs in without https.
"""

import ipaddress
from datetime import UTC, datetime
from urllib.parse import urlsplit

from fastapi import Request, Response

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
    _set(request, response, token, seconds)


def delete_session(request: Request, response: Response) -> None:
    _set(request, response, "", 0)


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


def _set(request: Request, response: Response, value: str, seconds: int) -> None:
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
