"""Routes that read a body: the token first, a limit for each route, and no long work in the event loop.

The token's signature is checked before anything is read, and the token is authenticated before a large body is read. A
large body is parsed and validated in a thread. Its number of JSON values is limited, because `json.loads` holds the
interpreter's lock for the whole call: a long call would stop the event loop from any thread. For the same reason
URL-encoded forms are parsed in short steps.
"""

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from functools import cached_property, partial
from typing import Any, TypeVar, get_origin
from urllib.parse import unquote_to_bytes

from anyio import to_thread
from fastapi import HTTPException, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.params import Form as FormParam
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.datastructures import FormData
from starlette.routing import BaseRoute, Match, compile_path, get_name
from starlette.types import Scope

from app.api.http.requests import content_length, limited_receive, refuse_length, route_path
from app.core.config import Settings
from app.core.json_text import MAX_VALUES, SMALL_BYTES, has_more_values, load_json
from app.errors import Text

# -- URL-encoded forms, parsed in short steps (https://url.spec.whatwg.org/#urlencoded-parsing) ------------------------
# Starlette's parser decodes the escapes of a field in one call. Of a megabyte that call holds the interpreter's lock
# for some ten milliseconds, so that the event loop stands still although the call is in another thread.

URL_ENCODED = "application/x-www-form-urlencoded"
_STEP_BYTES = 16 * 1024


def parse_form(body: bytes, max_fields: int) -> FormData:
    """Return the fields, of UTF-8; what is none is U+FFFD. Raises ValueError for more than `max_fields` fields."""
    if body.count(b"&") >= max_fields:  # told before a list of them is made
        raise ValueError(f"Too many fields. Maximum number of fields is {max_fields}.")
    pairs = [field.partition(b"=") for field in body.split(b"&") if field]
    return FormData([(_decoded(name), _decoded(value)) for name, _, value in pairs])


def _decoded(text: bytes) -> str:
    text = text.replace(b"+", b" ")
    pieces, begin = [], 0
    while begin < len(text):
        end = begin + _STEP_BYTES
        escape = text.rfind(b"%", end - 2, end)  # its digits are behind the end
        if escape >= 0 and end < len(text):
            end = escape
        pieces.append(unquote_to_bytes(text[begin:end]))
        begin = end
    return b"".join(pieces).decode("utf-8", "replace")


# -- The routes, and the limits of their bodies ------------------------------------------------------------------------

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
Handler = Callable[[Request], Coroutine[Any, Any, Response]]
# Takes the request, and whether to ask the database.
TokenCheck = Callable[[Request, bool], Awaitable[None]]

# What most routes need: names, addresses and passwords, also if each character is an escape of six bytes.
DEFAULT_BYTES = 16 * 1024
# The key in `request.state` of the limiter of the threads that work on large JSON.
LARGE_JSON = "large_json"
JSON = "application/json"
FORMS = frozenset({URL_ENCODED, "multipart/form-data"})

_LIMIT = "body_limit"
_MADE_OF_PATH = frozenset({"path_regex", "path_format", "param_convertors"})
# The attributes that a route has once FastAPI has read its endpoint.
_MADE_OF_ENDPOINT = APIRoute.__annotations__.keys() | {"app", "form_limits"}


def body_limit(limit: Callable[[Settings], int]) -> Callable[[Endpoint], Endpoint]:
    """Let this endpoint's bodies have up to `limit(settings)` bytes, and never more than MAX_BODY_BYTES."""

    def mark(endpoint: Endpoint) -> Endpoint:
        endpoint.__dict__[_LIMIT] = limit
        return endpoint

    return mark


def bound_bodies(
    routes: Iterable[BaseRoute], settings: Settings, scheme: Callable[..., Any], check_token: TokenCheck
) -> None:
    """Set the check of all routes that depend on the token of `scheme`, and the limits of those that read a body.

    Before a body is read, `check_token` checks the token's signature. Before a large body, or one of unknown length, it
    is told to ask the database, too; after such a body the endpoint's own dependency asks again, since reading may take
    long. Raises TypeError for a route that reads a body without limits, because its router has another route class.
    """
    for route in routes:
        if isinstance(route, BodyRoute):
            wanted = route.endpoint.__dict__.get(_LIMIT, lambda _: DEFAULT_BYTES)
            route.max_bytes = min(wanted(settings), settings.max_body_bytes)
            route.guard = (scheme, check_token)
        elif isinstance(route, APIRoute) and route.body_field is not None:
            raise TypeError(f"{route.path}: a route with a body needs route_class=BodyRoute")


class BodyRoute(APIRoute):
    """A route whose body is bounded before it is read. `bound_bodies` sets the limits and the check of the token.

    FastAPI reads the signatures of the endpoint and of its dependencies, and makes validators of them: two milliseconds
    for each of 220 routes, of which most processes serve few. That is done when the route is first used; until then
    the route has what it is found by. Its pattern is compiled by the first request that begins as its path does.
    """

    max_bytes = DEFAULT_BYTES
    # The dependency that reads the token, and the check of a request whose route has that dependency.
    guard: tuple[Callable[..., Any], TokenCheck] | None = None

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self.path, self.endpoint, self._options = path, endpoint, options
        self._begins = path.partition("{")[0]
        self.methods = {method.upper() for method in options.get("methods") or ["GET"]}
        self.name = options.get("name") or get_name(endpoint)
        self.include_in_schema = options.get("include_in_schema", True)

    def __getattr__(self, name: str) -> Any:
        """Return what is made of the path, or what FastAPI makes of the endpoint. It is made now."""
        if name in _MADE_OF_PATH:
            self.path_regex, self.path_format, self.param_convertors = compile_path(self.path)
        elif name in _MADE_OF_ENDPOINT:
            self.build()
        else:
            raise AttributeError(name)
        return self.__dict__[name]

    def build(self) -> None:
        """Make all that FastAPI makes of the endpoint. A second thread that does so meanwhile makes the same."""
        try:
            super().__init__(self.path, self.endpoint, **self._options)
        except AttributeError as error:  # of `__getattr__` it would say that the route has no such attribute
            raise TypeError(f"{self.path}: {error}") from error

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return how well the route matches, and what it adds to the scope."""
        return super().matches(scope) if route_path(scope).startswith(self._begins) else (Match.NONE, {})

    @cached_property
    def check_token(self) -> TokenCheck | None:
        """The check of the token, for a route that depends on one."""
        if self.guard is None:
            return None
        scheme, check = self.guard
        return check if _depends_on(self.dependant, scheme) else None

    @cached_property
    def query_parameters(self) -> dict[str, bool]:
        """The query parameters that the route has, and whether each may be repeated."""
        found: dict[str, bool] = {}
        for dependant in (self.dependant, *dependencies_of(self.dependant)):
            for field in dependant.query_params:
                kind = field.field_info.annotation
                # FastAPI reads the fields of a model as parameters.
                fields = kind.model_fields if isinstance(kind, type) and issubclass(kind, BaseModel) else None
                named = (
                    {field.alias: field.field_info}
                    if fields is None
                    else {each.alias or name: each for name, each in fields.items()}
                )
                found |= {name: get_origin(each.annotation) is list for name, each in named.items()}
        return found

    def get_route_handler(self) -> Handler:
        """Return FastAPI's handler, behind the checks of this route."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def handle_bounded(request: Request) -> Response:
            if self.check_token is not None:
                length = content_length(request.scope)
                await self.check_token(request, length is None or length > SMALL_BYTES)
            too_large = await refuse_length(request.scope, request.receive, self.max_bytes)
            if too_large is not None:
                raise too_large
            self._check_media_type(request)
            bounded = _BoundedRequest(request, self)
            try:
                return await handle(bounded)
            except RequestValidationError as error:
                raise bounded.explained(error) from None

        return handle_bounded

    def _check_media_type(self, request: Request) -> None:
        """Raise HTTPException 415 for a body in another form than the route reads (RFC 9110 §15.5.16)."""
        if not content_length(request.scope) and "transfer-encoding" not in request.headers:
            return
        kind = _media_type(request)
        is_json, is_form = kind == JSON or kind.endswith("+json"), kind in FORMS
        assert self.body_field is not None
        wants_form = isinstance(self.body_field.field_info, FormParam)
        if is_form if wants_form else is_json:
            return
        wanted = URL_ENCODED if wants_form else JSON
        without = "has another Content-Type" if kind else "has no Content-Type"
        sent = "is JSON" if is_json else "is a form" if is_form else without
        form = "a form" if wants_form else "JSON"
        raise HTTPException(415, Text("The body {}: send {} with Content-Type: {}", sent, form, wanted))


class _BoundedRequest(Request):
    """Reads no more than the route's limit, and parses and validates a large body in a thread."""

    def __init__(self, request: Request, route: BodyRoute) -> None:
        super().__init__(request.scope, limited_receive(request.receive, route.max_bytes))
        self._route = route
        self._refused: list[Any] = []

    async def json(self) -> Any:
        """Return the JSON of the body, of a large one the validated model, which pydantic takes as it is.

        In the place of what is no JSON it returns an object that pydantic refuses, once FastAPI has checked the rights.
        """
        body = await self.body()
        limiter = self.scope.get("state", {}).get(LARGE_JSON)
        try:
            if len(body) <= SMALL_BYTES:
                return load_json(body)
            return await to_thread.run_sync(partial(self._validated, body), limiter=limiter)
        except ValueError as error:
            return self._refuse("json_invalid", Text("is not JSON: {}", str(error)))

    async def form(self, *, max_fields: int = 1000, **limits: Any) -> FormData:  # type: ignore[override]  # (it is awaited)
        """Return the form. A large one is parsed in a thread, and is URL-encoded: no page sends another.

        Raises HTTPException 400 for what is no form, 415 for another large one.
        """
        if self._form is not None:
            return self._form
        body = await self.body()
        is_large = len(body) > SMALL_BYTES
        if _media_type(self) != URL_ENCODED:
            if is_large:
                raise HTTPException(415, f"A form of more than {SMALL_BYTES} bytes is sent as {URL_ENCODED}")
            return await super().form(max_fields=max_fields, **limits)
        try:
            if is_large:
                limiter = self.scope.get("state", {}).get(LARGE_JSON)
                self._form = await to_thread.run_sync(parse_form, body, max_fields, limiter=limiter)
            else:
                self._form = parse_form(body, max_fields)
        except ValueError as error:
            raise HTTPException(400, str(error)) from None
        return self._form

    def explained(self, error: RequestValidationError) -> RequestValidationError:
        """Return the error with the errors of the large body, which was validated before."""
        if not self._refused:
            return error
        elsewhere = [each for each in error.errors() if each["loc"][0] != "body"]
        return RequestValidationError([*elsewhere, *self._refused])

    def _validated(self, body: bytes) -> Any:
        """Return the model, or an object that pydantic refuses in its place. Raises ValueError for what is no JSON."""
        if has_more_values(body, MAX_VALUES):
            return self._refuse("too_many_values", Text("The body has more than {} JSON values", MAX_VALUES))
        assert self._route.body_field is not None
        model, errors = self._route.body_field.validate(load_json(body), {}, loc=("body",))
        self._refused = errors
        return object() if errors else model

    def _refuse(self, kind: str, message: str) -> object:
        self._refused = [{"type": kind, "loc": ("body",), "msg": message, "input": None}]
        return object()


def _media_type(request: Request) -> str:
    """Return the type of the body without its parameters, "" where none is named."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def dependencies_of(dependant: Dependant) -> Iterator[Dependant]:
    """Yield all dependencies, direct ones and theirs."""
    for each in dependant.dependencies:
        yield each
        yield from dependencies_of(each)


def _depends_on(dependant: Dependant, wanted: Callable[..., Any]) -> bool:
    return any(each.call is wanted for each in dependencies_of(dependant))
