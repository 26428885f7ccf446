"""CORS_ORIGINS: pages of these origins may call the API with a bearer token. No cookie, so no credentials."""

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.http.problems import http_problem

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
# What our requests and answers carry beyond what every page may send and read.
REQUEST_HEADERS = ("Authorization", "Idempotency-Key", "If-Match", "If-None-Match", "Last-Event-ID", "X-Request-ID")
ANSWER_HEADERS = ("ETag", "Idempotency-Replayed", "Link", "Location", "Retry-After", "WWW-Authenticate", "X-Request-ID")


class Cors(CORSMiddleware):
    """Starlette's, whose refusals are problems as all of ours are."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=METHODS,
            allow_headers=REQUEST_HEADERS,
            expose_headers=ANSWER_HEADERS,
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
