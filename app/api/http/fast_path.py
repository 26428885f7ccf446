"""A short way for the plain form of the requests that come most.

To find a route, to resolve dependencies and parameters one by one, and to hold what they may have to close costs
FastAPI a third of such a request's time. A route may have a *direct* reading of its request: it either understands all
of it and calls the endpoint itself, or gives up before anything was done (None), and FastAPI takes the request as it
would have. So whatever is refused for its form is refused on FastAPI's own path, and the document says what the
endpoint declares.
"""

import json
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

Direct = Callable[[Request], Awaitable[Response | None]]
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PARAMETER = re.compile(r"\{\w+\}")
_BEARER = re.compile(r"Bearer ([!-~]+)")


def directly(direct: Direct) -> Callable[[Endpoint], Endpoint]:
    """Have the endpoint's requests tried this way first. Of parameters, its path may end in one id."""

    def mark(endpoint: Endpoint) -> Endpoint:
        endpoint.__dict__["direct"] = direct
        return endpoint

    return mark


class ShortWay:
    """The innermost middleware: in front of FastAPI's own, it takes what a direct reading understands."""

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        self.app = app
        self._routes = {
            (method, *_key(route.path, _PARAMETER)): route
            for route in routes
            if isinstance(route, APIRoute) and "direct" in route.endpoint.__dict__
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._route(scope) if scope["type"] == "http" else None
        if route is None:
            await self.app(scope, receive, send)
            return
        read: list[Message] = []

        async def receive_and_keep() -> Message:
            message = await receive()
            read.append(message)
            return message

        async def receive_again() -> Message:
            return read.pop(0) if read else await receive()

        request = Request(scope, receive_and_keep, send)
        try:
            answer = await route.endpoint.__dict__["direct"](request)
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

    def _route(self, scope: Scope) -> APIRoute | None:
        """The route that fits, noted in the scope as FastAPI does it."""
        path: str = scope["path"].removeprefix(scope.get("root_path", ""))
        route = self._routes.get((scope["method"], *_key(path, _ID)))
        if route is not None:
            scope["route"] = route
            scope["path_params"] = dict.fromkeys(route.param_convertors, path.rpartition("/")[2])
        return route


def _key(path: str, variable: re.Pattern[str]) -> tuple[str, bool]:
    """The path, without its end where that is variable, and whether it is."""
    head, _, last = path.rpartition("/")
    return (head, True) if variable.fullmatch(last) else (path, False)


def header(request: Request, name: bytes) -> str | None:
    """The value of a header that comes once; None where it comes not at all or more than once."""
    found = [value for key, value in request.scope["headers"] if key == name]
    return found[0].decode("latin-1") if len(found) == 1 else None


def has_header(request: Request, name: bytes) -> bool:
    return any(key == name for key, _ in request.scope["headers"])


def bearer_token(request: Request) -> str | None:
    match = _BEARER.fullmatch(header(request, b"authorization") or "")
    return match[1] if match else None


async def json_body(request: Request, model: type[BaseModel]) -> Any:
    """A valid body of this model, or None."""
    if header(request, b"content-type") != "application/json":
        return None
    try:
        return model.model_validate(json.loads(await request.body()))
    except (ValueError, RecursionError, ValidationError, ClientDisconnect):
        return None
