"""A router that serves `/tasks` like `/tasks/`, without a redirect.

A redirect would cost the client a round trip, and some clients drop the Authorization header on a 307. The form with
the slash is the documented one.
"""

import inspect
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, FastAPI

from app.api.http.body_route import BodyRoute
from app.api.http.turns import in_turn


class SlashRouter(APIRouter):
    """Serves each route whose path ends in `/` also without the slash.

    The second route is not in the OpenAPI document. The routes are made by `add_to`: a route of FastAPI takes a
    millisecond to build, and a second set of them, in the router itself, would never be asked.
    """

    def __init__(self, **options: Any) -> None:
        self._added: list[tuple[str, Callable[..., Any], dict[str, Any]]] = []
        super().__init__(redirect_slashes=False, **options)

    def add_api_route(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        """Add a route, and a second one without the trailing slash. A plain function runs in its caller's turn."""
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
