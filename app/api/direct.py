"""A short way for the plain form of the requests that come most.

FastAPI resolves dependencies and parameters one by one, which costs a request here a fifth to a quarter of its time. A
route may have a *direct* reading of its request: it either understands all of it and calls the endpoint itself, or
gives up before anything was done (None), and FastAPI takes the request as it would have. So whatever is refused is
refused on FastAPI's own path, and the document says what the endpoint declares.
"""

import json
import re
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar
from uuid import UUID

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

Direct = Callable[[Request], Awaitable[Response | None]]
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_BEARER = re.compile(r"Bearer ([!-~]+)")


def directly(direct: Direct) -> Callable[[Endpoint], Endpoint]:
    """Have the endpoint's requests tried this way first."""

    def mark(endpoint: Endpoint) -> Endpoint:
        endpoint.__dict__["direct"] = direct
        return endpoint

    return mark


def route_class_of(endpoint: Callable[..., Any]) -> type[APIRoute]:
    marked: Direct | None = endpoint.__dict__.get("direct")
    if marked is None:
        return APIRoute
    direct: Direct = marked

    class DirectRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            ordinary = super().get_route_handler()

            async def handle(request: Request) -> Response:
                answer = await direct(request)
                return await ordinary(request) if answer is None else answer

            return handle

    return DirectRoute


def header(request: Request, name: bytes) -> str | None:
    """The value of a header that comes once; None where it comes not at all or more than once."""
    found = [value for key, value in request.scope["headers"] if key == name]
    return found[0].decode("latin-1") if len(found) == 1 else None


def has_header(request: Request, name: bytes) -> bool:
    return any(key == name for key, _ in request.scope["headers"])


def bearer_token(request: Request) -> str | None:
    match = _BEARER.fullmatch(header(request, b"authorization") or "")
    return match[1] if match else None


def id_in_path(request: Request, name: str) -> UUID | None:
    text = request.path_params[name]
    return UUID(text) if _ID.fullmatch(text) else None


async def json_body(request: Request, model: type[BaseModel]) -> Any:
    """A valid body of this model, or None."""
    if header(request, b"content-type") != "application/json":
        return None
    try:
        return model.model_validate(json.loads(await request.body()))
    except (ValueError, RecursionError, ValidationError, ClientDisconnect):
        return None
