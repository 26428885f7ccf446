"""Fast path for the busiest endpoints.

FastAPI's routing, dependencies and parameters take a large part of such a request's time (docs/adr/0024). A route may
have a *fast reader* of its request. The reader either understands the whole request and answers it, or returns None
before it has any effect: then FastAPI handles the request as usual. So only FastAPI refuses malformed requests. The
reader checks the scopes that the route declares.
"""

import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.http.body_route import dependencies_of
from app.api.http.requests import content_length, route_path
from app.core.json_text import SMALL_BYTES

FastReader = Callable[[Request, Sequence[str]], Awaitable[Response | None]]
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PARAMETER = re.compile(r"\{\w+\}")
_READER = "fast_reader"
_BEARER = re.compile(r"Bearer ([!-~]+)")


def read_fast(reader: FastReader) -> Callable[[Endpoint], Endpoint]:
    """Try `reader` first for this endpoint's requests. The path may end in one id and has no other parameter.

    The reader is called with the request and with the scopes that the route declares.
    """

    def mark(endpoint: Endpoint) -> Endpoint:
        endpoint.__dict__[_READER] = reader
        return endpoint

    return mark


class FastPath:
    """The innermost middleware, in front of FastAPI's routing: answers the requests that a fast reader understands.

    `authorization` is the one dependency that may guard such a route; its scopes are read from the route. Raises
    ValueError for a route that is guarded in any other way, because the reader would skip that guard.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute], authorization: Callable[..., Any]) -> None:
        self.app = app
        self._routes = {
            (method, *_key(route.path, _PARAMETER)): (route, _scopes(route, authorization))
            for route in routes
            if isinstance(route, APIRoute) and _READER in route.endpoint.__dict__
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._route(scope) if scope["type"] == "http" else None
        if found is None:
            await self.app(scope, receive, send)
            return
        route, scopes = found
        read: list[Message] = []

        async def receive_and_keep() -> Message:
            message = await receive()
            read.append(message)
            return message

        async def receive_again() -> Message:
            return read.pop(0) if read else await receive()

        request = Request(scope, receive_and_keep, send)
        try:
            answer = await route.endpoint.__dict__[_READER](request, scopes)
        except Exception as error:
            handlers = scope["app"].exception_handlers
            handle = next((handlers[kind] for kind in type(error).__mro__ if kind in handlers), None)
            if handle is None:
                raise
            answer = await handle(request, error)
        if answer is None:
            await self.app(scope, receive_again, send)
        else:
            await answer(scope, receive, send)

    def _route(self, scope: Scope) -> tuple[APIRoute, Sequence[str]] | None:
        """Return the matching route and its scopes, and record the route in the ASGI scope as FastAPI does."""
        path = route_path(scope)
        found = self._routes.get((scope["method"], *_key(path, _ID)))
        if found is not None:
            scope["route"] = found[0]
            scope["path_params"] = dict.fromkeys(found[0].param_convertors, path.rpartition("/")[2])
        return found


def _scopes(route: APIRoute, authorization: Callable[..., Any]) -> Sequence[str]:
    guards = [each for each in dependencies_of(route.dependant) if each.call is authorization]
    if len(guards) != 1 or route.dependencies:
        raise ValueError(f"{route.path}: a route of the fast path must be guarded by {authorization.__name__} alone")
    return guards[0].own_oauth_scopes or ()


def _key(path: str, variable: re.Pattern[str]) -> tuple[str, bool]:
    """Return the path and whether its last segment is variable; a variable segment is cut off."""
    head, _, last = path.rpartition("/")
    return (head, True) if variable.fullmatch(last) else (path, False)


def header(request: Request, name: bytes) -> str | None:
    """Return the value of a header, or None if it is missing or repeated."""
    found = [value for key, value in request.scope["headers"] if key == name]
    return found[0].decode("latin-1") if len(found) == 1 else None


def has_header(request: Request, name: bytes) -> bool:
    """Return whether the request has this header. `name` is in lower case."""
    return any(key == name for key, _ in request.scope["headers"])


def bearer_token(request: Request) -> str | None:
    """Return the bearer token, or None if the Authorization header is missing or has another form."""
    match = _BEARER.fullmatch(header(request, b"authorization") or "")
    return match[1] if match else None


def query_values(request: Request, **known: re.Pattern[str]) -> Mapping[str, list[str]] | None:
    """Return the values of these parameters. None if the query has others, escapes, or a value of another form."""
    found: dict[str, list[str]] = {}
    text = request.scope["query_string"].decode("latin-1")
    for part in text.split("&") if text else ():
        name, _, value = part.partition("=")
        if name not in known or not known[name].fullmatch(value):
            return None
        found.setdefault(name, []).append(value)
    return found


async def json_body(request: Request, model: type[BaseModel]) -> Any:
    """Return the body as an instance of `model`, or None if it is large or is not valid JSON of that model.

    A large body is not read: FastAPI's route parses it in a thread.
    """
    if header(request, b"content-type") != "application/json":
        return None
    length = content_length(request.scope)
    if length is None or length > SMALL_BYTES:
        return None
    try:
        return model.model_validate(json.loads(await request.body()))
    except (ValueError, RecursionError, ValidationError, ClientDisconnect):
        return None
