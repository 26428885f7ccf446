"""Objects of which each process has its own, and the one hook that runs in a forked child.

A child inherits the parent's memory, but neither its threads nor the right to use its sockets.
"""

import os
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_objects: list["PerProcess[Any]"] = []


class PerProcess(Generic[T]):
    """An object that a process makes at its first use: `make()`. Call this to get it.

    A forked child forgets the parent's object and makes its own. With `inherit`, the child's object is
    `inherit(parent's)`, made at once: for what must pass on, such as shared memory.
    """

    def __init__(self, make: Callable[[], T], *, inherit: Callable[[T], T | None] | None = None) -> None:
        self._make, self._inherit = make, inherit
        self._made: T | None = None
        self._lock = threading.RLock()  # re-entrant: a signal's handler may interrupt its holder
        _objects.append(self)

    def __call__(self) -> T:
        made = self._made
        if made is None:
            with self._lock:
                made = self._made = self._make() if self._made is None else self._made
        return made

    @property
    def made(self) -> T | None:
        """The object, if this process has one already."""
        return self._made

    def replace(self, by: T | None) -> None:
        """Use this object from now on; with None, make another one at the next use."""
        self._made = by

    def in_child(self) -> None:
        """Runs in a forked child, in its only thread."""
        self._lock = threading.RLock()  # a thread of the parent may have held it
        parents, self._made = self._made, None
        if parents is not None and self._inherit is not None:
            self._made = self._inherit(parents)


def _in_child() -> None:
    for each in _objects:
        each.in_child()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_in_child)
