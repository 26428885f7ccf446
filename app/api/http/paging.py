"""The `Link` header of a paged list (RFC 8288)."""

import re
from typing import Annotated, Any
from urllib.parse import parse_qsl, quote, urlencode
from uuid import UUID

from fastapi import Query, Request, Response

from app.errors import InvalidCursor

MAX_LIMIT = 200
MAX_SKIP = 10_000

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="The maximum number of items.")]
Skip = Annotated[int, Query(ge=0, le=MAX_SKIP, description="The number of items to skip. A cursor is faster.")]
Cursor = Annotated[
    str | None, Query(max_length=64, description="The start of the page, from the `Link` header of the previous page.")
]
LINK_HEADER: dict[str, Any] = {
    "Link": {"description": 'The next page, if there is one: `<…>; rel="next"`', "schema": {"type": "string"}}
}


Position = UUID | str | int | None


def read_cursor(cursor: str | None) -> UUID | None:
    """Return the id after which the page starts. Raises InvalidCursor."""
    if cursor is None:
        return None
    try:
        return UUID(hex=cursor)
    except ValueError:
        raise InvalidCursor from None


def read_number(cursor: str | None) -> int:
    """Return the number after which the page starts, 0 without a cursor. Raises InvalidCursor."""
    if cursor is None:
        return 0
    if not _NUMBER.fullmatch(cursor):
        raise InvalidCursor
    return int(cursor)


def set_next_link(request: Request, response: Response, last: Position, parameter: str = "cursor") -> None:
    """Set the `Link` header to the page that starts after `last`. Without `last` there is no next page.

    Keeps all query parameters except `skip`, which the cursor replaces. The URL is absolute, because common clients
    return it without resolving it.
    """
    if last is None:
        return
    cursor = last.hex if isinstance(last, UUID) else str(last)
    url = request.url
    kept = [pair for pair in parse_qsl(url.query, keep_blank_values=True) if pair[0] not in {"skip", parameter}]
    url = url.replace(query=urlencode([*kept, (parameter, cursor)]))
    # The client controls the Host header, so characters that could close the `<…>` are escaped.
    response.headers["Link"] = f'<{quote(str(url), safe=_URL_CHARACTERS)}>; rel="next"'


_NUMBER = re.compile("[0-9]{1,9}")
_URL_CHARACTERS = "%:/?#[]@!$&'()*+,;=-._~"
