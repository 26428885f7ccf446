"""A resource that stands below the items of another one is found in a document, and reached through an item that is made."""

from typing import Any

import pytest

from tests.support.by_example import Resource, collection_of, resources


def posting(example: dict[str, Any]) -> dict[str, Any]:
    body = {"required": True, "content": {"application/json": {"example": example}}}
    return {"post": {"responses": {"201": {}}, "requestBody": body}}


NOTES = Resource("/things/{thing_id}/notes/", "/things/{thing_id}/notes/{name}")
PATHS = {"/things/": posting({"a": 1}), "/things/{thing_id}": {"get": {}}}
BELOW = {NOTES.collection: posting({"text": "b"}), NOTES.item: {"get": {}}}


def test_is_found() -> None:
    assert list(resources({"paths": PATHS | BELOW})) == [Resource("/things/", "/things/{thing_id}"), NOTES]


def test_stands_below_an_item_that_is_made() -> None:
    posted: list[tuple[str, Any]] = []

    def post(path: str, **options: Any) -> dict[str, Any]:
        posted.append((path, options))
        return {"id": 7}

    assert collection_of({"paths": PATHS | BELOW}, NOTES, post) == "/things/7/notes/"
    assert posted == [("/things/", {"json": {"a": 1}})]


def test_below_what_no_call_makes_is_an_error_that_names_it() -> None:
    with pytest.raises(AssertionError, match="notes/: nothing in the document makes"):
        collection_of({"paths": BELOW}, NOTES, pytest.fail)
