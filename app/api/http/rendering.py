"""Renders models directly. FastAPI would validate the response again, for a sync endpoint in a thread."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from fastapi import Request, Response
from pydantic import BaseModel, TypeAdapter

from app.api.http.paging import Position, set_next_link
from app.db.page import MAX_PAGE_BYTES, Page

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
