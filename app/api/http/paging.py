"""The `Link` header of a paged list (RFC 8288), as GitHub gives it."""

from typing import Annotated, Any
from urllib.parse import quote
from uuid import UUID

from fastapi import Query, Request, Response

from app.errors import FieldError, InvalidCursor

MAX_SKIP = 10_000

Limit = Annotated[int, Query(ge=1, le=200, description="How many at most.")]
Skip = Annotated[int, Query(ge=0, le=MAX_SKIP, description="How many to pass over; a cursor is faster.")]
Cursor = Annotated[str | None, Query(max_length=64, description="Where to go on: take it from the `Link` header.")]
LINK_HEADER: dict[str, Any] = {
    "Link": {"description": 'The next page, if any: `<…>; rel="next"`', "schema": {"type": "string"}}
}


def read_cursor(cursor: str | None) -> UUID | None:
    """The id after which the page starts. Raises InvalidCursor."""
    if cursor is None:
        return None
    try:
        return UUID(hex=cursor)
    except ValueError:
        refused: FieldError = {"loc": ["query", "cursor"], "msg": "Take it from the Link header", "type": "cursor"}
        raise InvalidCursor(errors=[refused]) from None


def set_next_link(request: Request, response: Response, cursor: str | None) -> None:
    """Name the next page; with no `cursor` there is none. Every other query parameter is kept.

    All but `skip`, which would be applied once more: a cursor already says where the page starts. The URL is absolute,
    since common clients hand it out without resolving it.
    """
    if cursor is None:
        return
    url = request.url.remove_query_params("skip").include_query_params(cursor=cursor)
    # A Host header is the client's to write: what could close the `<…>` is escaped.
    response.headers["Link"] = f'<{quote(str(url), safe=_URL_CHARACTERS)}>; rel="next"'


_URL_CHARACTERS = "%:/?#[]@!$&'()*+,;=-._~"
