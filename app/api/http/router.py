"""A router that answers `/tasks` as well as `/tasks/`, without a redirect.

A redirect would cost every sloppy client a second round trip, and a 307 on a POST loses the Authorization header in
some of them. The form with the slash is the one that is documented.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, FastAPI
from sqlalchemy.orm import Session


class SlashRouter(APIRouter):
    """Routes whose path ends in `/` are also answered without it; the twin is not in the schema."""

    def __init__(self, **options: Any) -> None:
        self._added: list[tuple[str, Callable[..., Any], dict[str, Any]]] = []
        super().__init__(redirect_slashes=False, **options)

    def add_api_route(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        if not inspect.iscoroutinefunction(endpoint):
            endpoint = _releasing(endpoint)
        self._add(path, endpoint, options)
        twin = path.removesuffix("/")
        # The bare prefix has a twin only where there is a prefix: a route needs some path.
        if twin != path and self.prefix + twin:
            self._add(twin, endpoint, options | {"include_in_schema": False})

    def add_to(self, app: FastAPI, prefix: str) -> None:
        """Make its routes the application's own, below `prefix`.

        An included router is searched twice for each request, and once more by each router around it: a third of what a
        small answer cost.
        """
        for path, endpoint, options in self._added:
            tags = [*self.tags, *(options.get("tags") or ())]
            app.router.add_api_route(prefix + self.prefix + path, endpoint, **(options | {"tags": tags}))

    def _add(self, path: str, endpoint: Callable[..., Any], options: dict[str, Any]) -> None:
        self._added.append((path, endpoint, options))
        super().add_api_route(path, endpoint, **options)


def _releasing(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """Have the connection go back as the endpoint returns, before FastAPI renders the answer.

    Rendering takes a thread of its own from the pool of four. Requests that held a connection while they waited for one
    stalled those that held a thread while they waited for a connection: 32 readers ran into the pool's time limit.
    """

    @functools.wraps(endpoint)
    def call(**arguments: Any) -> Any:
        try:
            return endpoint(**arguments)
        finally:
            db = arguments.get("db")
            if isinstance(db, Session):
                db.close()

    return call
