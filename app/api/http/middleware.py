"""The middleware around the routes, with its checks of header fields, and the switch of FastAPI's telemetry.

It is pure ASGI, because Starlette's BaseHTTPMiddleware breaks streams.

From the outside in: `RequestContext` (id, security headers), `Cors` if origins are configured, `UnhandledErrors`
(exceptions), `RequestMetrics`, `RequestLimits` (sizes, malformed targets, hosts). They change only messages that pass
through and hold no body. `FastPath` runs inside them.
"""

import functools
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import AddressValueError, IPv6Address
from itertools import chain
from time import perf_counter
from types import MappingProxyType

import uuid_utils
from fastapi.telemetry import TelemetryConfig
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.http.problems import http_problem, internal_problem
from app.api.http.requests import closing_unless_read, limited_receive, refuse_length, route_path
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


# The request line counts too. Room for a cookie jar of a browser and for what proxies add; the parser copies a head.
MAX_HEADER_BYTES = 32 * 1024
MAX_HEADERS = 100


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
        allowed_hosts: Sequence[str] = (),
        uploads: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.uploads = uploads
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
        await self.app(scope, limited_receive(receive, most), send)

    def _refuse_head(
        self, scope: Scope, headers: Sequence[tuple[bytes, bytes]], fields: Mapping[bytes, bytes]
    ) -> tuple[int, str] | None:
        size = len(scope["path"]) + len(scope["query_string"]) + sum(map(len, chain.from_iterable(headers)))
        if size > MAX_HEADER_BYTES:
            return 431, f"The request line and the header fields are larger than {MAX_HEADER_BYTES} bytes"
        if len(headers) > MAX_HEADERS:
            return 431, f"There are more than {MAX_HEADERS} header fields"
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


# -- CORS for the origins in CORS_ORIGINS ------------------------------------------------------------------------------
# Pages of these origins may call the API with a bearer token. The API uses no cookies, so credentials stay disallowed.

CORS_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
# Headers beyond those that browsers allow by default.
CORS_REQUEST_HEADERS = (
    "Authorization",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Last-Event-ID",
    "X-Request-ID",
)
# Those of MCP's transport.
MCP_HEADERS = ("Mcp-Method", "Mcp-Name", "Mcp-Protocol-Version", "Mcp-Session-Id")
CORS_EXPOSED_HEADERS = (
    "ETag",
    "Idempotency-Replayed",
    "Link",
    "Location",
    "Retry-After",
    "WWW-Authenticate",
    "X-Request-ID",
)


class Cors(CORSMiddleware):
    """Starlette's CORS middleware, with a problem document for a refused preflight request."""

    def __init__(self, app: ASGIApp, origins: Sequence[str], more_headers: Sequence[str] = ()) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=CORS_METHODS,
            allow_headers=(*CORS_REQUEST_HEADERS, *more_headers),
            expose_headers=CORS_EXPOSED_HEADERS,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            headers = Headers(scope=scope)
            if "origin" in headers and "access-control-request-method" in headers:
                answer = self.preflight_response(headers)
                if answer.status_code >= 400:  # noqa: PLR2004
                    answer = http_problem(
                        scope, 400, "This origin, method or header is not allowed", {"Vary": "Origin"}
                    )
                await answer(scope, receive, send)
                return
        await super().__call__(scope, receive, send)


# -- The check of Host: it is well-formed and, if ALLOWED_HOSTS is set, one of its entries -----------------------------

# Health checks address the server by its IP address. These responses name no host, so ALLOWED_HOSTS does not apply.
PROBES = frozenset({"/healthz", "/readyz"})

# Stricter than RFC 3986, which permits nearly any character in a host name.
_HOST = re.compile(rb"(?:(?P<name>[A-Za-z0-9_.-]{1,253})|\[(?P<ipv6>[0-9A-Fa-f:.]{2,45})\])(?::(?P<port>[0-9]{1,5}))?")
_MAX_PORT = 65535


def refuse_host(scope: Scope, given: bytes | None, allowed: Sequence[str]) -> str | None:
    """Return why the Host header is refused, or None. X-Forwarded-Host is not read."""
    if given is None:
        return "The request must have a Host header" if scope.get("http_version") == "1.1" else None
    host = _parse_host(given)
    if host is None:
        return "The Host header is malformed"
    if not allowed or route_path(scope) in PROBES or is_allowed_host(host, allowed):
        return None
    return "The service does not accept this Host"


def is_allowed_host(host: str, allowed: Sequence[str]) -> bool:
    """Return whether a pattern matches `host`. `*.example.com` matches every subdomain, but not example.com itself."""
    name = host.lower().removesuffix(".")
    return any(name == pattern or (pattern.startswith("*.") and name.endswith(pattern[1:])) for pattern in allowed)


@functools.lru_cache(maxsize=1024)
def _parse_host(value: bytes) -> str | None:
    """Return the host without its port, or None if it is malformed."""
    match = _HOST.fullmatch(value)
    if match is None or int(match["port"] or 0) > _MAX_PORT:
        return None
    if match["ipv6"] is None:
        return match["name"].decode("ascii")
    address = match["ipv6"].decode("ascii")
    try:
        IPv6Address(address)
    except AddressValueError:
        return None
    return f"[{address}]"


# -- The check of header fields that have one value: they may not occur twice (RFC 9110 §5.3) --------------------------
# Two programs on a request's way may each take another one of the two: a proxy checks the first, the service obeys the
# last.

# The parser refuses a repeated Content-Length.
SINGLE_FIELDS = {
    name.lower().encode(): name
    for name in ("Authorization", "Content-Type", "Host", "Idempotency-Key", "Last-Event-ID", "Origin")
}


def refuse_repeated(headers: Sequence[tuple[bytes, bytes]], fields: Mapping[bytes, bytes]) -> str | None:
    """Return why the fields are refused, or None. The names are in lower case; `fields` has each name once."""
    if len(fields) == len(headers):  # nothing is repeated; the fastest way to see it
        return None
    names = [name for name, _ in headers]
    repeated = next((name for name in SINGLE_FIELDS if names.count(name) > 1), None)
    return None if repeated is None else f"The request must have at most one {SINGLE_FIELDS[repeated]} header"


# -- The check of Content-Type: it takes no long to parse, and multipart forms are in UTF-8 or ASCII -------------------
# The parser of Content-Type, which Starlette and uploads use too, takes time that grows with the square of the length.
#
# Starlette decodes with the charset that a form names, and Python's codecs are more than charsets. `punycode` takes
# time that grows with the square of the size, in the event loop. `utf-7` and `unicode_escape` make lone surrogates,
# which cannot be encoded later.

FORM_CHARSETS = frozenset({b"utf-8", b"utf8", b"us-ascii", b"ascii"})
# A boundary has 70 characters at most, and the longest registered type 127 (RFC 2046 §5.1.1, RFC 6838 §4.2).
MAX_CONTENT_TYPE_BYTES = 512


def refuse_content_type(content_type: bytes) -> str | None:
    """Return why the Content-Type is refused, or None. Uses the parser that Starlette uses."""
    if len(content_type) > MAX_CONTENT_TYPE_BYTES:
        return f"The Content-Type is longer than {MAX_CONTENT_TYPE_BYTES} bytes"
    if b"multipart" in content_type.lower() and b"charset" in content_type.lower():
        _, options = parse_options_header(content_type)
        if options.get(b"charset", b"utf-8").lower() not in FORM_CHARSETS:
            return "A multipart form must be in UTF-8"
    return None


# -- FastAPI's own OpenTelemetry support: on where the environment configures it ---------------------------------------
# Without a configured provider, FastAPI asks OpenTelemetry for one in each request, which takes 3 µs and always fails.

_TELEMETRY_PREFIXES = ("OTEL_", "FASTAPI_OTEL_")


def telemetry(names: Iterable[str] = os.environ) -> TelemetryConfig:
    """Return FastAPI's `telemetry`. `names` are those of the environment's variables."""
    if any(name.startswith(_TELEMETRY_PREFIXES) for name in names):
        return {}
    return {"tracing": False, "metrics": False, "logs": False}
