"""A router that answers `/tasks` as well as `/tasks/`, without a redirect.

A redirect would cost every sloppy client a second round trip, and a 307 on a POST loses the Authorization header in
some of them. The form with the slash is the one that is documented.
"""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter


class SlashRouter(APIRouter):
    """Routes whose path ends in `/` are also answered without it; the twin is not in the schema."""

    def __init__(self, **options: Any) -> None:
        super().__init__(redirect_slashes=False, **options)

    def add_api_route(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().add_api_route(path, endpoint, **options)
        twin = path.removesuffix("/")
        # The bare prefix has a twin only where there is a prefix: a route needs some path.
        if twin != path and self.prefix + twin:
            super().add_api_route(twin, endpoint, **(options | {"include_in_schema": False}))
