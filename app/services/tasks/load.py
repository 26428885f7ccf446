"""What tasks take of their user's quotas: their number, the bytes of their arguments, and all bytes that are kept."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from app.core.json_text import json_size
from app.ddl.sizes import ROW_BYTES
from app.models.task import Task

# Of each parent: its id in `tasks.depends_on`, and the row of `task_dependencies` with its entries in two indexes.
EDGE_BYTES = 200


class Load(NamedTuple):
    """A number of tasks, the bytes of their arguments, and all bytes that their rows keep."""

    tasks: int
    bytes: int
    stored: int = 0

    def __add__(self, other: "Load") -> "Load":  # type: ignore[override]  # no use to append tuples
        return Load(self.tasks + other.tasks, self.bytes + other.bytes, self.stored + other.stored)

    def __sub__(self, other: "Load") -> "Load":
        return Load(self.tasks - other.tasks, self.bytes - other.bytes, self.stored - other.stored)


NOTHING = Load(0, 0)


def load_of(task: Task) -> Load:
    """Return the load of a task. One that is retried keeps its row, and counts as a new one."""
    arguments = json_size(task.args) + json_size(task.kwargs)
    return load_of_row(arguments, attached_to(task))


def attached_to(task: Task) -> int:
    """Return what `attached_bytes` is of the fields of this task."""
    return attached_bytes(task.name, task.tags, task.metadata_, len(task.depends_on or ()))


def load_of_row(arguments: int, attached: int) -> Load:
    """Return the load of a new row, of so many bytes of arguments and `attached_bytes`."""
    return Load(1, arguments, ROW_BYTES + arguments + attached)


def sum_of(loads: Iterable[Load]) -> Load:
    """Return all loads together."""
    return sum(loads, NOTHING)


def growth(before: Load, after: Load) -> Load:
    """Return what a change of a task adds: bytes, and no task. Never less than nothing."""
    more = after - before
    return Load(0, max(more.bytes, 0), max(more.stored, 0))


def attached_bytes(name: str, tags: Sequence[str], metadata: Mapping[str, Any], parents: int = 0) -> int:
    """Return the bytes of these fields, which `tasks.attached_bytes` holds for a new task; `parents`: how many."""
    fields = len(name.encode()) + sum(len(tag.encode()) for tag in tags) + parents * EDGE_BYTES
    return fields + json_size(metadata) if metadata else fields
