"""References to the results of other tasks, in the arguments of a task of a workflow.

`{"$result": "ref"}` and `{"$result": "ref", "path": ["a", 0]}` stand for a parent's result, or for what is in it;
`{"$literal": x}` stands for x, in which nothing is looked for.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

RESULT, PATH, LITERAL = "$result", "path", "$literal"
MOST_TOLD = 200  # characters of a path, in a text


class MalformedReference(ValueError):
    """An object that looks like a reference, and is none. The text says what to write."""


class MissingPath(LookupError):
    """A result does not have what the path of a reference names. The text names both."""


class Reference(NamedTuple):
    """A result, by the ref of its task, and the place in it: names of members, and indexes from 0."""

    ref: str
    path: tuple[str | int, ...] = ()

    def __str__(self) -> str:
        path = "".join(f"[{part!r}]" for part in self.path)
        return repr(self.ref) + (path if len(path) <= MOST_TOLD else f"{path[:MOST_TOLD]}…")

    def of(self, result: Any) -> Any:
        """Return what is at the path in this result. Raises MissingPath."""
        value = result
        for at, part in enumerate(self.path):
            try:
                if isinstance(value, str) or (isinstance(value, list) and isinstance(part, str)):
                    raise KeyError(part)
                value = value[part]
            except (LookupError, TypeError):
                inside = Reference(self.ref, self.path[:at])
                raise MissingPath(f"the result of {inside} has no {repr(part)[:MOST_TOLD]}: {_kind(value)}") from None
        return value


def find(value: Any) -> Iterator[Reference]:
    """Yield the references in this JSON. Raises MalformedReference."""
    if isinstance(value, list):
        for item in value:
            yield from find(item)
    elif isinstance(value, dict):
        reference = _read(value)
        if reference is not None:
            yield reference
        elif LITERAL not in value:
            for item in value.values():
                yield from find(item)


def holds_any(value: Any) -> bool:
    """Return whether the JSON has something that `fill` would change."""
    if isinstance(value, list):
        return any(map(holds_any, value))
    return isinstance(value, dict) and (RESULT in value or LITERAL in value or any(map(holds_any, value.values())))


def fill(value: Any, resolve: Callable[[Reference], Any]) -> Any:
    """Return the JSON with `resolve` of each reference in its place, and each literal as it is."""
    if isinstance(value, list):
        return [fill(item, resolve) for item in value]
    if not isinstance(value, dict):
        return value
    reference = _read(value)
    if reference is not None:
        return resolve(reference)
    return value[LITERAL] if LITERAL in value else {name: fill(item, resolve) for name, item in value.items()}


def _read(value: Mapping[str, Any]) -> Reference | None:
    """Return the reference that the object is; None for any other object. Raises MalformedReference."""
    if LITERAL in value and len(value) > 1:
        raise MalformedReference(f"an object with {LITERAL} has nothing else")
    if RESULT not in value:
        return None
    ref, path = value[RESULT], value.get(PATH, [])
    if value.keys() - {RESULT, PATH}:
        raise MalformedReference(
            f"an object with {RESULT} has nothing else but {PATH}: for data, write {{{LITERAL!r}: …}}"
        )
    if not isinstance(ref, str):
        raise MalformedReference(f"{RESULT} is the ref of a task, a text")
    if not isinstance(path, list) or not all(type(part) is str or (type(part) is int and part >= 0) for part in path):
        raise MalformedReference(f"{PATH} is a list of names and of indexes from 0")
    return Reference(ref, tuple(path))


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return f"it is a list of {len(value)}"
    return "it is null" if value is None else f"it is {'an object' if isinstance(value, dict) else 'one value'}"
