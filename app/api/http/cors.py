"""CORS for the origins in CORS_ORIGINS.

Pages of these origins may call the API with a bearer token. The API uses no cookies, so credentials stay disallowed.
"""

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.http.problems import http_problem

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
# Headers beyond those that browsers allow by default.
REQUEST_HEADERS = ("Authorization", "Idempotency-Key", "If-Match", "If-None-Match", "Last-Event-ID", "X-Request-ID")
# Those of MCP's transport.
MCP_HEADERS = ("Mcp-Method", "Mcp-Name", "Mcp-Protocol-Version", "Mcp-Session-Id")
EXPOSED_HEADERS = (
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
            allow_methods=METHODS,
            allow_headers=(*REQUEST_HEADERS, *more_headers),
            expose_headers=EXPOSED_HEADERS,
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
