"""A router that answers `/tasks` as well as `/tasks/`, without a redirect.

A redirect would cost every sloppy client a second round trip, and a 307 on a POST loses the Authorization header in
some of them. The form with the slash is the one that is documented.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from sqlalchemy.orm import Session


class SlashRouter(APIRouter):
    """Routes whose path ends in `/` are also answered without it; the twin is not in the schema."""

    def __init__(self, **options: Any) -> None:
        super().__init__(redirect_slashes=False, **options)

    def add_api_route(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        if not inspect.iscoroutinefunction(endpoint):
            endpoint = _releasing(endpoint)
        super().add_api_route(path, endpoint, **options)
        twin = path.removesuffix("/")
        # The bare prefix has a twin only where there is a prefix: a route needs some path.
        if twin != path and self.prefix + twin:
            super().add_api_route(twin, endpoint, **(options | {"include_in_schema": False}))


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
