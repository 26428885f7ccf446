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


def set_next_link(request: Request, response: Response, last: UUID | str | None) -> None:
    """Set the `Link` header to the page that starts after `last`. Without `last` there is no next page.

    Keeps all query parameters except `skip`, which the cursor replaces. The URL is absolute, because common clients
    return it without resolving it.
    """
    if last is None:
        return
    cursor = last.hex if isinstance(last, UUID) else last
    url = request.url.remove_query_params("skip").include_query_params(cursor=cursor)
    # The client controls the Host header, so characters that could close the `<…>` are escaped.
    response.headers["Link"] = f'<{quote(str(url), safe=_URL_CHARACTERS)}>; rel="next"'


_URL_CHARACTERS = "%:/?#[]@!$&'()*+,;=-._~"
