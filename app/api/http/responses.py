"""JSON answers: one model, or a page of a list with its cursor and `Link` header (RFC 8288); and entity tags."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any
from urllib.parse import parse_qsl, quote, urlencode
from uuid import UUID

from fastapi import Query, Request, Response
from pydantic import BaseModel, TypeAdapter

from app.api.http.problems import Answers
from app.db.page import MAX_PAGE_BYTES, Page
from app.errors import InvalidCursor, PreconditionFailed

MAX_LIMIT = 200
MAX_SKIP = 10_000

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="The maximum number of items.")]
Skip = Annotated[int, Query(ge=0, le=MAX_SKIP, description="The number of items to skip. A cursor is faster.")]
LINK_HEADER: dict[str, Any] = {
    "Link": {"description": 'The next page, if there is one: `<…>; rel="next"`', "schema": {"type": "string"}}
}
Cursor = Annotated[
    str | None,
    Query(max_length=64, description="The start of the page, from the `Link` header of the previous page."),
    Answers(InvalidCursor, headers=LINK_HEADER),
]


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


# -- Models as JSON. FastAPI would validate the response again, for a sync endpoint in a thread ------------------------

MEDIA_TYPE = "application/json"


def rendered(model: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON response of the model, with the same bytes that FastAPI would write."""
    return json_response(to_json(model), headers, status)


def json_response(body: bytes, headers: Mapping[str, str] | None = None, status: int = 200) -> Response:
    """Return the response of a body that is JSON already."""
    return Response(body, status_code=status, headers=headers, media_type=MEDIA_TYPE)


def to_json(model: BaseModel) -> bytes:
    return model.__pydantic_serializer__.to_json(model)


def page_response(request: Request, body: bytes, last: Position, parameter: str = "cursor") -> Response:
    """Return the response of a rendered page, with the `Link` header if there is a next one."""
    response = Response(body, media_type=MEDIA_TYPE)
    set_next_link(request, response, last, parameter)
    return response


class ListRenderer:
    """Renders pages of one model. Call it in the endpoint's thread: a page may take tens of milliseconds."""

    def __init__(self, model: Any) -> None:
        self._model = model

    @cached_property
    def _adapter(self) -> TypeAdapter[list[BaseModel]]:
        """Built by the first page."""
        return TypeAdapter(list[self._model])  # type: ignore[name-defined]  # (a model, known at run time)

    def page(
        self, request: Request, page: Page[Any, Any], position: Callable[[Any], Position], parameter: str = "cursor"
    ) -> Response:
        """Return the page as a JSON array of at most MAX_PAGE_BYTES, with one item at least, and the `Link` header.

        Items beyond are left to the next page, which starts after the `position` of the last item. `parameter` is that
        of the query which names it.
        """
        return page_response(request, *self.render(page, position), parameter)

    def render(self, page: Page[Any, Any], position: Callable[[Any], Position]) -> tuple[bytes, Position]:
        """Return the JSON array, and the position after which the next page starts."""
        body, number = self._rendered(page.items)
        return body, page.last if number == len(page.items) else position(page.items[number - 1])

    def _rendered(self, items: Sequence[Any]) -> tuple[bytes, int]:
        """The array, and how many of the items it holds."""
        models = self._adapter.validate_python(items, from_attributes=True)
        body = self._adapter.dump_json(models)
        if len(body) <= MAX_PAGE_BYTES:
            return body, len(items)
        # Rare: the statement has cut the page by the sizes of its columns.
        parts: list[bytes] = []
        size = 1
        for model in models:
            part = to_json(model)
            size += len(part) + 1
            if parts and size > MAX_PAGE_BYTES:
                break
            parts.append(part)
        return b"[" + b",".join(parts) + b"]", len(parts)


# -- Entity tags and preconditions (RFC 9110 §8.8.3 and §13.1). The tag of a resource is its `version` -----------------

_TAG = re.compile(r'(?P<weak>W/)?"(?P<opaque>[\x21\x23-\x7e\x80-\xff]*)"')


def etag(version: int | str) -> str:
    """Return the strong entity tag of a version."""
    return f'"{version}"'


def not_modified(if_none_match: str | None, version: int | str) -> bool:
    """Return whether `If-None-Match` names this version, by weak comparison. A GET then answers 304."""
    if if_none_match is None:
        return False
    return _is_any(if_none_match) or etag(version) in {f'"{opaque}"' for _, opaque in _tags(if_none_match)}


def check_if_match(if_match: str | None, version: int) -> None:
    """Raise PreconditionFailed unless `If-Match` names this version, by strong comparison.

    A malformed header matches nothing: refusing the write is the safe reading of a broken condition.
    """
    if if_match is None or _is_any(if_match):
        return
    if etag(version) not in {f'"{opaque}"' for weak, opaque in _tags(if_match) if not weak}:
        raise PreconditionFailed


def _is_any(header: str) -> bool:
    return header.strip() == "*"


def _tags(header: str) -> list[tuple[str, str]]:
    return _TAG.findall(header)
