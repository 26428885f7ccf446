"""Calls that the OpenAPI document gives itself: the bodies of its examples, and what is made of them.

So a resource that is new is called by the tests of all routes, with nothing told to them.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

FORM = "multipart/form-data"
METHODS = ("get", "put", "post", "patch", "delete")


class Resource(NamedTuple):
    """A collection to which POST adds: its path, and the one of an item, whose last part is `{parameter}`.

    It may stand below the item of another one: `/tasks/{task_id}/notes/`.
    """

    collection: str
    item: str

    @property
    def parameter(self) -> str:
        return self.item.rpartition("{")[2].rstrip("}")

    @property
    def is_below_another(self) -> bool:
        return "{" in self.collection

    def key_of(self, shown: Mapping[str, Any]) -> str:
        """What stands for the parameter in the path of this item."""
        return str(shown["id" if self.parameter.endswith("_id") else self.parameter])


def resources(document: Mapping[str, Any]) -> Iterator[Resource]:
    for path, operations in document["paths"].items():
        item = re.compile(re.escape(path.rstrip("/")) + r"/\{\w+\}")
        of_one = [other for other in document["paths"] if item.fullmatch(other)]
        if "post" in operations and "201" in operations["post"]["responses"] and of_one:
            yield Resource(path, of_one[0])


def collection_of(document: Mapping[str, Any], of: Resource, post: Callable[..., Mapping[str, Any]]) -> str:
    """Return the path of the collection. The items above it are made with `post(path, **options)`, which returns one."""
    for above in resources(document):
        if of.collection.startswith(f"{above.item}/"):
            path = collection_of(document, above, post)
            made = post(path, **options_of(document, "POST", above.collection))
            return of.collection.replace(above.item, f"{path.rstrip('/')}/{above.key_of(made)}", 1)
    assert not of.is_below_another, f"{of.collection}: nothing in the document makes what stands above it"
    return of.collection


def operations_of(document: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    """Method and path of each operation at this path or below it."""
    for other, operations in document["paths"].items():
        if other == path or other.startswith(f"{path}/"):
            yield from ((method.upper(), other) for method in METHODS if method in operations)


def options_of(document: Mapping[str, Any], method: str, path: str) -> dict[str, Any]:
    """The example of a body that the operation requires, as httpx takes it."""
    body = document["paths"].get(path, {}).get(method.lower(), {}).get("requestBody", {})
    if not body.get("required"):
        return {}
    ((kind, media),) = body["content"].items()
    example = example_of(document, media)
    return {"files": {name: ("a.csv", text) for name, text in example.items()}} if kind == FORM else {"json": example}


def example_of(document: Mapping[str, Any], described: Mapping[str, Any]) -> Any:
    """The example of a media type or a schema, or one of its required fields' examples."""
    if "$ref" in described:
        return example_of(document, document["components"]["schemas"][described["$ref"].rpartition("/")[2]])
    if "example" in described:
        return described["example"]
    if described.get("examples"):
        examples = described["examples"]
        return next(iter(examples.values()))["value"] if isinstance(examples, dict) else examples[0]
    if "schema" in described:
        return example_of(document, described["schema"])
    return {name: example_of(document, described["properties"][name]) for name in described.get("required", ())}
