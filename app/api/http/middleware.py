"""The middleware around the routes. Pure ASGI, because Starlette's BaseHTTPMiddleware breaks streams.

From the outside in: `RequestContext` (id, security headers), `Cors` if origins are configured, `UnhandledErrors`
(exceptions), `RequestMetrics`, `RequestLimits` (sizes, malformed targets, hosts). They change only messages that pass
through and hold no body. `FastPath` runs inside them.
"""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from time import perf_counter
from types import MappingProxyType

import uuid_utils
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.http.body_limits import closing_unless_read, limited, refuse_length
from app.api.http.forms import refuse_content_type
from app.api.http.hosts import refuse_host
from app.api.http.problems import http_problem, internal_problem
from app.api.http.route_paths import route_path
from app.api.http.singletons import refuse_repeated
from app.core.logging import request_id
from app.core.metrics import count_request
from app.core.origin import Origin, current_origin

logger = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Responses with tokens or personal data must not be stored. Those of tasks belong to one user: no shared cache may keep
# them, and the user's own cache revalidates with the ETag each time.
_REVALIDATED = re.compile(r"/api/v1/tasks(/|$)")
_API = re.compile(r"/api/v1/|/mcp(/|$)")

# One year, without subdomains: they may belong to other services.
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
_NO_STORE_HEADER = [(b"cache-control", b"no-store")]
_REVALIDATE = [(b"cache-control", b"private, no-cache")]


class RequestContext:
    """Sets the id of each request and the security headers of each response; with `hsts`, also HSTS over https."""

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
                more = [*_SECURITY, *_cache_control(route_path(scope))]
                if self.hsts and scope["scheme"] == "https":
                    more.append(_HSTS)
                # Built as bytes: Starlette's MutableHeaders would search the whole list for each header.
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


class UnhandledErrors:
    """Converts unhandled exceptions to an answer with status 500: a problem, unless `answer` makes another.

    Runs inside `Cors`, so that these responses get its headers.
    """

    def __init__(self, app: ASGIApp, answer: Callable[[Scope], ASGIApp] = internal_problem) -> None:
        self.app, self.answer = app, answer

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
                raise  # the response has begun: only closing the connection tells the client
            await self.answer(scope)(scope, receive, send)


class RequestMetrics:
    """Counts responses and their duration by route template: a path with ids would create one metric for each id."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 500  # `UnhandledErrors` converts exceptions to this
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
    """Refuses malformed and oversized requests before routing.

    400: a NUL or raw bytes in the target, a bad Host, a repeated field, a bad Content-Type. 413: the body is too large;
    a route may have a lower limit (`BodyRoute`). 431: too many or too large headers. The limits are exact;
    `BoundedProtocol` limits how much the server reads at all.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_body_bytes: int,
        *,
        max_header_bytes: int = 32 * 1024,
        max_headers: int = 100,
        allowed_hosts: Sequence[str] = (),
        uploads: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.uploads = uploads
        self.max_header_bytes = max_header_bytes
        self.max_headers = max_headers
        self.allowed_hosts = allowed_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = scope["headers"]
        fields: dict[bytes, bytes] = dict(headers)
        refused = self._refuse_head(scope, headers, fields)
        if refused is not None:
            await http_problem(scope, *refused)(scope, receive, send)
            return
        most = self.uploads.get(route_path(scope).rstrip("/"), 0) if scope["method"] == "POST" and self.uploads else 0
        most = max(most, self.max_body_bytes)
        if b"content-length" in fields:
            too_large = await refuse_length(scope, receive, most)
            if too_large is not None:
                refusal = http_problem(scope, too_large.status_code, too_large.detail, too_large.headers)
                await refusal(scope, receive, send)
                return
        if b"expect" in fields:
            receive, send = closing_unless_read(scope, receive, send)
        await self.app(scope, limited(receive, most), send)

    def _refuse_head(
        self, scope: Scope, headers: Sequence[tuple[bytes, bytes]], fields: Mapping[bytes, bytes]
    ) -> tuple[int, str] | None:
        size = len(scope["path"]) + len(scope["query_string"]) + sum(map(len, chain.from_iterable(headers)))
        if size > self.max_header_bytes:
            return 431, f"The request line and the header fields are larger than {self.max_header_bytes} bytes"
        if len(headers) > self.max_headers:
            return 431, f"There are more than {self.max_headers} header fields"
        if _malformed_target(scope):
            return 400, "The path or query contains a NUL or an unescaped byte"
        reason = refuse_repeated(headers, fields) or refuse_host(scope, fields.get(b"host"), self.allowed_hosts)
        if b"content-type" in fields:
            reason = reason or refuse_content_type(fields[b"content-type"])
        return None if reason is None else (400, reason)


def _cache_control(path: str) -> list[tuple[bytes, bytes]]:
    if not _API.match(path):
        return []
    return _REVALIDATE if _REVALIDATED.match(path) else _NO_STORE_HEADER


def _malformed_target(scope: Scope) -> bool:
    """Return whether the path or the query holds a NUL or a raw byte.

    PostgreSQL cannot store a NUL, and Starlette fails on a query that is not UTF-8.
    """
    query: bytes = scope["query_string"]
    return "\x00" in scope["path"] or b"%00" in query or b"\x00" in query or not query.isascii()


def route_template(scope: Scope) -> str:
    """Return the path template of the matched route, or "unmatched".

    FastAPI's context holds the full template of a route of an included router.
    """
    context = scope.get("fastapi", {}).get("effective_route_context") or scope.get("route")
    template = getattr(context, "path_format", None)
    if not isinstance(template, str):
        return "unmatched"
    root = str(scope.get("root_path", ""))
    return root.removeprefix(scope.get("app_root_path", root)) + template  # of a mounted application
