"""JSON answers: one model, or a page of a list with its cursor and `Link` header (RFC 8288); and entity tags."""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any
from urllib.parse import parse_qsl, quote, urlencode

from fastapi import Query, Request, Response
from pydantic import BaseModel, TypeAdapter

from app.api.http.problems import Answers
from app.db.listing import MAX_PAGE_BYTES, Listing, Page
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


def set_next_link(request: Request, response: Response, cursor: str | None, parameter: str = "cursor") -> None:
    """Set the `Link` header to the page that starts at the cursor. Without one there is no next page.

    Keeps all query parameters except `skip`, which the cursor replaces. The URL is absolute, because common clients
    return it without resolving it.
    """
    if cursor is None:
        return
    url = request.url
    kept = [pair for pair in parse_qsl(url.query, keep_blank_values=True) if pair[0] not in {"skip", parameter}]
    url = url.replace(query=urlencode([*kept, (parameter, cursor)]))
    # The client controls the Host header, so characters that could close the `<…>` are escaped.
    response.headers["Link"] = f'<{quote(str(url), safe=_URL_CHARACTERS)}>; rel="next"'


_URL_CHARACTERS = "%:/?#[]@!$&'()*+,;=-._~"


# -- Models as JSON. FastAPI would validate the response again, for a sync endpoint in a thread ------------------------

MEDIA_TYPE = "application/json"
REPLAYED = "Idempotency-Replayed"


def rendered(model: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON response of the model, with the same bytes that FastAPI would write."""
    return json_response(to_json(model), headers, status)


def created(request: Request, model: Any, *, replayed: bool = False) -> Response:
    """Return 201 with a model that has an `id`, and its URL below the path of the request.

    `replayed`: an earlier request with the same Idempotency-Key has made it.
    """
    headers = {"Location": f"{request.scope['path'].rstrip('/')}/{model.id}"}
    return rendered(model, 201, headers | ({REPLAYED: "true"} if replayed else {}))


def json_response(body: bytes, headers: Mapping[str, str] | None = None, status: int = 200) -> Response:
    """Return the response of a body that is JSON already."""
    return Response(body, status_code=status, headers=headers, media_type=MEDIA_TYPE)


def to_json(model: BaseModel) -> bytes:
    return model.__pydantic_serializer__.to_json(model)


def page_response(request: Request, body: bytes, cursor: str | None, parameter: str = "cursor") -> Response:
    """Return the response of a rendered page, with the `Link` header if there is a next one."""
    response = Response(body, media_type=MEDIA_TYPE)
    set_next_link(request, response, cursor, parameter)
    return response


class ListRenderer:
    """Renders pages of a list, as items of one model. Call it in the endpoint's thread: a page may take tens of ms.

    `parameter` is that of the query which names the next page.
    """

    def __init__(self, model: Any, listing: Listing[Any], parameter: str = "cursor") -> None:
        self._model, self._listing, self._parameter = model, listing, parameter

    @cached_property
    def _adapter(self) -> TypeAdapter[list[BaseModel]]:
        """Built by the first page."""
        return TypeAdapter(list[self._model])  # type: ignore[name-defined]  # (a model, known at run time)

    def page(self, request: Request, page: Page[Any]) -> Response:
        """Return the page as a JSON array of at most MAX_PAGE_BYTES, with one item at least, and the `Link` header.

        Items beyond are left to the next page.
        """
        return page_response(request, *self.render(page), self._parameter)

    def render(self, page: Page[Any]) -> tuple[bytes, str | None]:
        """Return the JSON array, and the cursor of the next page."""
        body, number = self._rendered(page.items)
        is_whole = number == len(page.items)
        return body, page.last if is_whole else self._listing.cursor_of(page.items[number - 1])

    def _rendered(self, items: Sequence[Any]) -> tuple[bytes, int]:
        """Return the array, and how many of the items it holds."""
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
