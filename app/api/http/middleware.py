"""What happens to every request around the routes. Pure ASGI: Starlette's BaseHTTPMiddleware breaks streams.

From the outside in: `RequestContext` (id, security headers), `Cors` where origins are named (`cors.py`),
`LastNet` (exceptions), `RequestMetrics`, `RequestLimits` (sizes, malformed targets, hosts). They change only messages
that pass, and hold no body. Within them `ShortWay` (`fast_path.py`) takes the plain form of what comes most.
"""

import logging
import re
from collections.abc import Sequence
from itertools import chain
from time import perf_counter

import anyio
import uuid_utils
from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.http.forms import refuse_charset
from app.api.http.hosts import refuse_host
from app.api.http.problems import http_problem, internal_problem
from app.core.logging import request_id
from app.core.metrics import count_request
from app.core.origin import Origin, current_origin

logger = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Answers that hold tokens or persons; and all others of the API, which are one user's: no shared cache may keep them,
# and the user's own asks with the ETag each time.
_NO_STORE = re.compile(r"(/api/v1/auth|/api/v1/users|/api/v1/audit)(/|$)")
_API = "/api/v1/"
# So much of a refused body is read and dropped, for so long, that the client gets to read the answer and not a reset.
_DRAIN_BYTES = 32 * 1024 * 1024
_DRAIN_SECONDS = 10.0
_LENGTH_DIGITS = 18
_CLOSE = {"Connection": "close"}

# A year. Only this host: what else lives below its name is not ours to decide.
HSTS = "max-age=31536000"
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
}
_SECURITY = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
_HSTS = (b"strict-transport-security", HSTS.encode())
_STORE_NOTHING = [(b"cache-control", b"no-store")]
_ASK_AGAIN = [(b"cache-control", b"private, no-cache")]


class RequestContext:
    """Gives each request an id, and each answer its headers; over https in production also HSTS."""

    def __init__(self, app: ASGIApp, *, hsts: bool = False) -> None:
        self.app = app
        self.hsts = hsts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"").decode("latin-1")
        identifier = given if _REQUEST_ID.fullmatch(given) else uuid_utils.uuid4().hex
        scope.setdefault("state", {})["request_id"] = identifier
        token = request_id.set(identifier)
        client = scope.get("client")
        origin = current_origin.set(Origin(client[0] if client else None, identifier))

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = [*_SECURITY, *_cache_control(scope["path"].removeprefix(scope.get("root_path", "")))]
                if self.hsts and scope["scheme"] == "https":
                    more.append(_HSTS)
                # As bytes, by hand: Starlette's MutableHeaders walks the list again for each of them.
                own = [header for header in message.get("headers", ()) if header[0] != b"x-request-id"]
                named = {name for name, _ in own}
                own += [header for header in more if header[0] not in named]
                own.append((b"x-request-id", identifier.encode()))
                message["headers"] = own
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        finally:
            current_origin.reset(origin)
            request_id.reset(token)


class LastNet:
    """Makes each unforeseen exception a problem with status 500. Within `Cors`: its answer too is for that origin."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def send_and_note(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except Exception:
            logger.exception("unhandled exception in %s %s", scope["method"], route_template(scope))
            if started:
                raise  # half an answer is out: only the connection's end can tell the client
            await internal_problem(scope)(scope, receive, send)


class RequestMetrics:
    """Counts answers and their time by route template: a path with its ids would be a metric of its own each."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 500  # what `LastNet` makes of an exception
        begun = perf_counter()

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "other"
            count_request(method, route_template(scope), status, perf_counter() - begun)


class RequestLimits:
    """Refuses what no route should have to see.

    A NUL or raw bytes in the target, a Host or a form's charset that will not do (400); too large a body (413); too
    many or too large headers (431): exactly so many, where `BoundedProtocol` bounds what the server reads at all.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_body_bytes: int,
        *,
        max_header_bytes: int = 32 * 1024,
        max_headers: int = 100,
        allowed_hosts: Sequence[str] = (),
    ) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.max_header_bytes = max_header_bytes
        self.max_headers = max_headers
        self.allowed_hosts = allowed_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refused = self._refuse_head(scope)
        if refused is not None:
            await http_problem(scope, *refused)(scope, receive, send)
            return
        length = _content_length(scope)
        if length > self.max_body_bytes:
            # Who asks first (`Expect: 100-continue`) has sent nothing yet, and reading would ask for all of it.
            hopeless = length > _DRAIN_BYTES or "expect" in Headers(scope=scope)
            drained = not hopeless and await _drain(receive)
            refusal = http_problem(scope, 413, self._too_large(), None if drained else _CLOSE)
            await refusal(scope, receive, send)
            return
        read = 0

        async def receive_within_limit() -> Message:
            nonlocal read
            message = await receive()
            if message["type"] == "http.request":
                read += len(message.get("body", b""))
                if read > self.max_body_bytes:
                    # FastAPI lets an HTTPException out of its reading of the body.
                    drained = not message.get("more_body", False) or await _drain(receive)
                    raise HTTPException(413, self._too_large(), None if drained else _CLOSE)
            return message

        await self.app(scope, receive_within_limit, send)

    def _refuse_head(self, scope: Scope) -> tuple[int, str] | None:
        headers = scope["headers"]
        size = len(scope["path"]) + len(scope["query_string"]) + sum(map(len, chain.from_iterable(headers)))
        if size > self.max_header_bytes:
            return 431, f"The request line and the header fields are larger than {self.max_header_bytes} bytes"
        if len(headers) > self.max_headers:
            return 431, f"There are more than {self.max_headers} header fields"
        if _malformed_target(scope):
            return 400, "The path or the query holds a NUL or an unescaped byte"
        why = refuse_host(scope, self.allowed_hosts) or refuse_charset(headers)
        return None if why is None else (400, why)

    def _too_large(self) -> str:
        return f"The body is larger than {self.max_body_bytes} bytes"


def _cache_control(path: str) -> list[tuple[bytes, bytes]]:
    if not path.startswith(_API):
        return []
    return _STORE_NOTHING if _NO_STORE.match(path) else _ASK_AGAIN


def _malformed_target(scope: Scope) -> bool:
    """PostgreSQL's text holds no NUL; Starlette decodes the query as UTF-8 and dies of other bytes."""
    query: bytes = scope["query_string"]
    return "\x00" in scope["path"] or b"%00" in query or b"\x00" in query or not query.isascii()


def _content_length(scope: Scope) -> int:
    """What the client says of the body; the server has refused anything but digits."""
    value = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    if not value.isdigit():
        return 0
    return int(value[:_LENGTH_DIGITS])  # cut, it still is more than any limit; Python reads no more than 4300 digits


async def _drain(receive: Receive) -> bool:
    """Read the rest of the body and drop it; False when it is too much of it, too slow, or the client has gone."""
    dropped = 0
    with anyio.move_on_after(_DRAIN_SECONDS):
        while dropped <= _DRAIN_BYTES:
            message = await receive()
            dropped += len(message.get("body", b""))
            if not message.get("more_body", False):
                return bool(message["type"] == "http.request")
    return False


def route_template(scope: Scope) -> str:
    """The template of the route that answered. An included router's full path stands in FastAPI's own context."""
    context = scope.get("fastapi", {}).get("effective_route_context") or scope.get("route")
    template = getattr(context, "path_format", None)
    return template if isinstance(template, str) else "unmatched"
