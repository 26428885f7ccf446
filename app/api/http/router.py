"""A router that serves `/tasks` like `/tasks/`, without a redirect; routes that refuse unknown query parameters.

A redirect would cost the client a round trip, and some clients drop the Authorization header on a 307. The form with
the slash is the documented one.
"""

import inspect
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts

from app.api.http.body_route import BodyRoute
from app.api.http.problems import declared_responses
from app.api.http.turns import in_turn, run_in_turn
from app.core.nearest import MAX_CHARACTERS, did_you_mean
from app.errors import FieldError, InvalidInput, RepeatedParameter, Text, UnknownParameter, joined

_OPTIONS = inspect.signature(APIRouter.add_api_route).parameters.keys() - {
    "self", "path", "endpoint", "route_class_override",
}  # fmt: skip


class SlashRouter(APIRouter):
    """Serves each route whose path ends in `/` also without the slash.

    The second route is not in the OpenAPI document. The routes are made by `add_to`: a route of FastAPI takes a
    millisecond to build, and a second set of them, in the router itself, would never be asked.
    """

    def __init__(self, **options: Any) -> None:
        self._added: list[tuple[str, Callable[..., Any], dict[str, Any]]] = []
        super().__init__(redirect_slashes=False, **options)

    def add_api_route(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        """Add a route, and a second one without the trailing slash. A plain function runs in its caller's turn.

        The document has its errors from the types of its parameters and from `@raises`. A route of `responses` that
        name one for status 500 has said them all.
        """
        named = options.get("responses") or {}
        if HTTPStatus.INTERNAL_SERVER_ERROR not in named:
            options["responses"] = declared_responses(endpoint) | named
        if not inspect.iscoroutinefunction(endpoint):
            endpoint = in_turn(endpoint, options.get("status_code"), options.get("response_model"))
        self._added.append((path, endpoint, options))
        twin = path.removesuffix("/")
        # Without a prefix the path would be empty, which a route may not be.
        if twin != path and self.prefix + twin:
            self._added.append((twin, endpoint, options | {"include_in_schema": False}))

    def add_to(self, app: FastAPI, prefix: str, route_class: type[BodyRoute] = BodyRoute) -> None:
        """Add the routes to the application directly, below `prefix`.

        An included router is searched twice for each request, and once more by each router around it.
        """
        for path, endpoint, options in self._added:
            tags = [*self.tags, *(options.get("tags") or ())]
            more = {"tags": tags, "route_class_override": route_class}
            app.router.add_api_route(prefix + self.prefix + path, endpoint, **(options | more))


def add_plain(router: APIRouter, app: FastAPI, prefix: str, route_class: type[BodyRoute]) -> None:
    """Add the routes of any other router of FastAPI, with the bounds of the service, with and without the slash.

    They answer as FastAPI has them answer: by its response classes and options. A class of routes of their own stays
    inside the bounds. What is no route of FastAPI, such as a mounted application, is included as it is.
    """
    for route in iter_route_contexts(router.routes):
        original = route.original_route
        if not isinstance(original, APIRoute):
            rest = APIRouter()
            rest.routes.append(getattr(route, "starlette_route", None) or original)
            app.include_router(rest, prefix=prefix)
            continue
        kind = type(original)
        bounded = route_class if issubclass(route_class, kind) else type(kind.__name__, (route_class, kind), {})
        options = {name: getattr(route, name) for name in _OPTIONS if hasattr(route, name)}
        endpoint = run_in_turn(original.endpoint) if _is_plain(original.endpoint) else original.endpoint
        for path, more in _twins(prefix, route):
            app.router.add_api_route(path, endpoint, **(options | more), route_class_override=bounded)
            added = app.router.routes[-1]
            assert isinstance(added, BodyRoute)
            added.build()  # what its own class makes of it is not known here


def _is_plain(endpoint: Callable[..., Any]) -> bool:
    """Return whether it is a function that FastAPI would call in a thread."""
    is_awaited = inspect.iscoroutinefunction(endpoint) or inspect.isasyncgenfunction(endpoint)
    return inspect.isroutine(endpoint) and not is_awaited and not inspect.isgeneratorfunction(endpoint)


def _twins(prefix: str, route: RouteContext) -> list[tuple[str, dict[str, bool]]]:
    """Return the path as it is declared, and the other form, which the document leaves out."""
    path = prefix + str(route.path)
    other = path.rstrip("/") if path.endswith("/") else path + "/"
    return [(path, {}), (other, {"include_in_schema": False})]


# -- Routes that refuse a query parameter which they do not have: a misspelt filter would match everything -------------

MAX_NAMED = 10  # of the refused parameters


class StrictRoute(BodyRoute):
    """A route that answers 422 to a query parameter that it does not have, and to a single one that is repeated.

    A caller without a valid token gets 401 all the same.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler, behind the look at the names in the query."""
        handle = super().get_route_handler()
        known = self.query_parameters

        async def handle_known(request: Request) -> Response:
            if request.scope["query_string"]:
                refused = refusal_of_query((name for name, _ in request.query_params.multi_items()), known)
                if refused is not None:
                    if self.check_token is not None:
                        await self.check_token(request, True)
                    raise refused
            return await handle(request)

        return handle_known


def unknown_parameters(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return the names that are not known, each once and cut to 100 characters; ten at most."""
    return [*dict.fromkeys(name[:MAX_CHARACTERS] for name in names if name not in known)][:MAX_NAMED]


def refusal_of_query(names: Iterable[str], known: Mapping[str, bool]) -> InvalidInput | None:
    """Return the error for the names in a query, None if all is well. `known` says which may be repeated."""
    counted = Counter(names)
    if strange := unknown_parameters(counted, known):
        meant = {name: did_you_mean(name, known) for name in strange}
        all_strange = joined(", ", (Text("{}{}", name, nearest) for name, nearest in meant.items()))
        detail = Text("Unknown query parameter: {}. This call takes none", all_strange)
        if known:
            detail = Text("Unknown query parameter: {}. Known: {}", all_strange, ", ".join(sorted(known)))
        errors = [
            _error_of_parameter(name, Text("unknown parameter{}", nearest), UnknownParameter)
            for name, nearest in meant.items()
        ]
        return UnknownParameter(detail, errors)
    if repeated := [name for name, times in counted.items() if times > 1 and not known[name]]:
        errors = [
            _error_of_parameter(name, "this parameter may be sent once", RepeatedParameter)
            for name in repeated[:MAX_NAMED]
        ]
        named = ", ".join(repeated[:MAX_NAMED])
        return RepeatedParameter(Text("This query parameter may be sent once: {}", named), errors)
    return None


def _error_of_parameter(name: str, message: str, kind: type[InvalidInput]) -> FieldError:
    return {"loc": [name], "msg": message, "type": kind.code}
