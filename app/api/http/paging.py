"""The `Link` header of a paged list (RFC 8288)."""

from typing import Annotated, Any
from urllib.parse import quote
from uuid import UUID

from fastapi import Query, Request, Response

from app.errors import InvalidCursor

MAX_SKIP = 10_000

Limit = Annotated[int, Query(ge=1, le=200, description="The maximum number of items.")]
Skip = Annotated[int, Query(ge=0, le=MAX_SKIP, description="The number of items to skip. A cursor is faster.")]
Cursor = Annotated[
    str | None, Query(max_length=64, description="The start of the page, from the `Link` header of the previous page.")
]
LINK_HEADER: dict[str, Any] = {
    "Link": {"description": 'The next page, if there is one: `<…>; rel="next"`', "schema": {"type": "string"}}
}


def read_cursor(cursor: str | None) -> UUID | None:
    """Return the id after which the page starts. Raises InvalidCursor."""
    if cursor is None:
        return None
    try:
        return UUID(hex=cursor)
    except ValueError:
        raise InvalidCursor from None


def set_next_link(request: Request, response: Response, cursor: str | None) -> None:
    """Set the header to the next page, if there is a `cursor`. Other query parameters are kept.

    `skip` is removed, since the cursor includes it. The URL is absolute, since common clients do not resolve it.
    """
    if cursor is None:
        return
    url = request.url.remove_query_params("skip").include_query_params(cursor=cursor)
    # Escaped, since a client chooses the Host header: it could close the `<…>`.
    response.headers["Link"] = f'<{quote(str(url), safe=_URL_CHARACTERS)}>; rel="next"'


_URL_CHARACTERS = "%:/?#[]@!$&'()*+,;=-._~"
