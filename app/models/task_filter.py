"""What to list or count: each field of the filter is declared here, and nowhere else.

From the declaration derive the query parameters, the filter in bodies (`app/schemas/task_filter.py`), the search
(`app/services/tasks/search.py`) and, for the equality with a column, the condition.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, get_args, get_origin
from uuid import UUID

from app.ddl.terms import KIND
from app.models.error_group import FINGERPRINT
from app.models.task import TaskPriority, TaskStatus, WaitingReason

MAX_SEARCH = 500  # characters


class Condition(StrEnum):
    """What tells whether a task matches a field of the filter."""

    COLUMN = "the column of the same name is equal"
    # The next two are written in `app/db/statements/task_filter.py`.
    INDEXED = "a condition that an index serves"
    IN_ROWS = "a condition that is looked up in the rows"


class Longest(StrEnum):
    """By what the newest tasks are sorted, the longest first."""

    DURATION = "duration"
    WAIT = "wait"


@dataclass(frozen=True)
class FilterField:
    """What is said of a field besides its name and type."""

    description: str
    # What precedes the value in a search: `key:value`.
    key: str
    condition: Condition = Condition.COLUMN
    # Of texts: the greatest length, or a regular expression.
    longest: int = 200
    # Of an id: `all` stands for everyone's.
    or_all: bool = False
    pattern: str | None = None
    examples: list[Any] | None = None
    # From its type: that of one value, and whether the filter takes several.
    value_type: Any = None
    is_list: bool = False


@dataclass(frozen=True)
class TaskFilter:
    """What to list or count; None and an empty sequence leave a field out of the filter."""

    user_id: Annotated[
        UUID | None,
        FilterField(
            "Administrators: the tasks of this user, or of `all` users. Default: your tasks.",
            "user",
            Condition.INDEXED,
            or_all=True,
        ),
    ] = None
    status: Annotated[
        Sequence[TaskStatus],
        FilterField("Tasks in any of these states.", "status", Condition.INDEXED, examples=[["failed"]]),
    ] = ()
    task_type: Annotated[
        str | None, FilterField("Tasks with this task_type.", "type", examples=["data_processing"])
    ] = None
    celery_task_name: Annotated[
        str | None,
        FilterField("Tasks that run this task.", "task", examples=["app.tasks.common_tasks.long_running_task"]),
    ] = None
    priority: Annotated[TaskPriority | None, FilterField("Tasks with this priority.", "priority", examples=["low"])] = (
        None
    )
    queue: Annotated[str | None, FilterField("Tasks in this queue.", "queue", examples=["default"])] = None
    tag: Annotated[
        Sequence[str],
        FilterField("Tasks with all of these tags.", "tag", Condition.IN_ROWS, 100, examples=[["nightly"]]),
    ] = ()
    name: Annotated[
        str | None, FilterField("Tasks whose name contains this text, ignoring case.", "name", Condition.IN_ROWS)
    ] = None
    waiting_for: Annotated[
        WaitingReason | None,
        FilterField("Pending tasks that wait for this reason.", "waiting", Condition.IN_ROWS, examples=[None]),
    ] = None
    limit_name: Annotated[
        str | None, FilterField("Tasks that name this limit.", "limit", Condition.IN_ROWS, examples=[None])
    ] = None
    error: Annotated[
        str | None,
        FilterField(
            "Tasks that are failed with this error: a `fingerprint` of `GET /errors/`.",
            "error",
            Condition.INDEXED,
            pattern=FINGERPRINT,
            examples=[None],
        ),
    ] = None
    schedule_id: Annotated[
        UUID | None, FilterField("Tasks that this schedule has made.", "schedule", Condition.INDEXED, examples=[None])
    ] = None
    workflow_id: Annotated[
        UUID | None, FilterField("Tasks of this workflow.", "workflow", Condition.INDEXED, examples=[None])
    ] = None
    created_after: Annotated[
        datetime | None, FilterField("Tasks created after this time.", "after", Condition.INDEXED)
    ] = None
    created_before: Annotated[
        datetime | None, FilterField("Tasks created before this time.", "before", Condition.INDEXED)
    ] = None


def _declared(annotation: Any) -> FilterField:
    values, field = get_args(annotation)
    declared: FilterField = field
    return dataclasses.replace(declared, value_type=get_args(values)[0], is_list=get_origin(values) is Sequence)


FIELDS = {field.name: _declared(field.type) for field in dataclasses.fields(TaskFilter)}

# The fields that are equal to a column, without those by which ended tasks are counted and indexed.
COLUMNS = tuple(name for name, field in FIELDS.items() if field.condition is Condition.COLUMN and name not in KIND)
_LOOKED_UP = (*COLUMNS, *(name for name, field in FIELDS.items() if field.condition is Condition.IN_ROWS))


def looks_up_rows(wanted: TaskFilter) -> bool:
    """Return whether the filter has a field for which rows are read, since neither an index nor a sum serves it."""
    return any(getattr(wanted, name) not in (None, (), []) for name in _LOOKED_UP)
