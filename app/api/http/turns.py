"""Runs the functions of plain `def` endpoints in the threads that users share fairly (`app/core/fair_threads.py`).

FastAPI would call such a function in a thread, validate its result in a second one, and render it in the event loop.
Here one thread does all three, so a large answer does not hold up other requests.
"""

import inspect
from collections.abc import Awaitable, Callable, Hashable
from functools import cache, partial, update_wrapper
from http import HTTPStatus
from typing import Any, TypeVar, get_type_hints

from fastapi import Request, Response
from fastapi.datastructures import DefaultPlaceholder
from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from app.core.fair_threads import CallerGone, FairThreads
from app.core.origin import address_block, current_origin
from app.errors import InvalidToken
from app.services.accounts.auth_service import Principal

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
# Authenticates the credentials of a request, with its token or its cookie; `again=True` when it is asked again.
Authenticate = Callable[..., Awaitable[Principal]]
# Whether a request reads many rows, by the arguments of its endpoint.
IsCostly = Callable[[dict[str, Any]], bool]

_IS_COSTLY = "is_costly"
# The client has left and receives nothing; the status stands in the metrics. nginx has the same.
CLIENT_CLOSED_REQUEST = 499


def costly(when: IsCostly) -> Callable[[Endpoint], Endpoint]:
    """Run this endpoint's requests as costly calls where `when` says so, given the endpoint's arguments."""

    def mark(endpoint: Endpoint) -> Endpoint:
        endpoint.__dict__[_IS_COSTLY] = when
        return endpoint

    return mark


def in_turn(endpoint: Callable[..., Any], status: int | None, response_model: Any) -> Callable[..., Any]:
    """Return a coroutine function that calls `endpoint` in a thread, and there renders its result with the model.

    The endpoint's signature is kept; where it has no `request` parameter, one is added. Without a model, its return
    annotation is the model.
    """
    render = _renderer(endpoint, status or HTTPStatus.OK, response_model)
    return _in_turn(endpoint, lambda arguments: _answer(endpoint, arguments, render))


def run_in_turn(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """Return a coroutine function that calls `endpoint` in a thread, and leaves its result to FastAPI."""
    return _in_turn(endpoint, lambda arguments: endpoint(**arguments))


def _in_turn(endpoint: Callable[..., Any], answer: Callable[[dict[str, Any]], Any]) -> Callable[..., Any]:
    signature = inspect.signature(endpoint, eval_str=True)
    parameters = list(signature.parameters.values())
    takes_request = "request" in signature.parameters
    if not takes_request:
        parameters.insert(0, inspect.Parameter("request", inspect.Parameter.KEYWORD_ONLY, annotation=Request))
        parameters.sort(key=lambda each: each.kind)
    is_costly: IsCostly = endpoint.__dict__.get(_IS_COSTLY, lambda _: False)

    async def call(**arguments: Any) -> Any:
        request = arguments["request"] if takes_request else arguments.pop("request")
        threads: FairThreads = request.state.threads
        try:
            return await threads.run(
                current_caller(),
                partial(answer, arguments),
                is_costly=is_costly(arguments),
                is_gone=partial(_is_gone, request),
                check_again=partial(check_rights_again, request),
            )
        except CallerGone:
            return Response(status_code=CLIENT_CLOSED_REQUEST)

    update_wrapper(call, endpoint)
    del call.__wrapped__  # type: ignore[attr-defined]  # FastAPI would take it for what it calls
    call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return call


def current_caller() -> Hashable:
    """Return by whom the current request takes its turn: the user's id, or the address block without a login."""
    origin = current_origin.get()
    if origin is None:
        return None
    return origin.actor.id if origin.actor is not None else address_block(origin.address or "")


async def check_rights_again(request: Request) -> None:
    """Authenticate a request again that has waited: rights are those at the moment of the answer.

    Raises InvalidToken if the login or the API key has ended, or now has another role, other scopes or another highest
    priority. Does nothing for a request without credentials.
    """
    before = request.scope["state"].get("principal")
    if before is None:
        return
    authenticate: Authenticate = request.scope["state"]["authenticate"]
    now = await authenticate(again=True)
    if _rights(now) != _rights(before):
        raise InvalidToken


def _rights(caller: Principal) -> tuple[Any, ...]:
    return caller.id, caller.role, caller.scopes, caller.max_priority


async def _is_gone(request: Request) -> bool:
    # Asked twice: the first message of a request without a body is its end.
    return await request.is_disconnected() or await request.is_disconnected()


def _answer(
    endpoint: Callable[..., Any], arguments: dict[str, Any], render: Callable[[Any, Response | None], Response]
) -> Response:
    """Call the endpoint, close its session, so that its connection is free, and render its result."""
    try:
        result = endpoint(**arguments)
    finally:
        db = arguments.get("db")
        if isinstance(db, Session):
            db.close()
    return result if isinstance(result, Response) else render(result, arguments.get("response"))


def _renderer(
    endpoint: Callable[..., Any], status: int, response_model: Any
) -> Callable[[Any, Response | None], Response]:
    if response_model is None or isinstance(response_model, DefaultPlaceholder):
        response_model = get_type_hints(endpoint).get("return")
    if response_model is None or response_model is type(None) or _is_response(response_model):
        return lambda _result, _given: Response(status_code=status)
    # Built by the first answer: all of them take a twentieth of the start, and most processes answer few.
    adapter: Callable[[], TypeAdapter[Any]] = cache(lambda: TypeAdapter(response_model))

    def render(result: Any, given: Response | None) -> Response:
        content = adapter().dump_json(adapter().validate_python(result, from_attributes=True))
        answer = Response(content, status_code=status, media_type="application/json")
        if given is not None:
            answer.status_code = given.status_code or status
            answer.raw_headers.extend(given.raw_headers)
        return answer

    return render


def _is_response(model: Any) -> bool:
    return isinstance(model, type) and issubclass(model, Response)
