"""Compares JSON values as JSON does: each part is looked at once, however often its whole is compared."""

from collections.abc import Callable, Hashable, Mapping
from typing import Any

MAX_DEPTH = 250
Shown = Callable[[Mapping[Any, Any], Any], Any]


class Forms:
    """Gives equal JSON values one form: `1` and `1.0` are equal, but `1` and `true` are not, as for Python's `==`.

    The values must live as long as this does.
    """

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._known: dict[tuple[int, bool], Hashable] = {}

    def of(
        self, value: Any, shown: Callable[[Mapping[Any, Any], Any], Any] | None = None, depth: int = MAX_DEPTH
    ) -> Hashable:
        """Return the form of a value; with `shown(object, key)`, of what that gives for each field of an object.

        What is nested deeper than `depth` is equal.
        """
        if not isinstance(value, dict | list | tuple):  # in Python anything may be sent, which is refused later
            return isinstance(value, bool), value if isinstance(value, Hashable) else id(value)
        if depth == 0:
            return ()
        at = id(value), shown is not None
        if at not in self._known:
            parts: Hashable
            if isinstance(value, dict):
                fields = ((key, value[key] if shown is None else shown(value, key)) for key in value)
                parts = frozenset((key, self.of(inner, shown, depth - 1)) for key, inner in fields)
            else:
                parts = tuple(self.of(inner, shown, depth - 1) for inner in value)
            # A number for the whole, so that a form of what holds it stays small.
            self._known[at] = "part", self._numbers.setdefault(parts, len(self._numbers))
        return self._known[at]
