"""The query parameters of lists and counts of tasks, and the users whose tasks a caller may read."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Depends, Query
from pydantic import BeforeValidator

from app.api.deps import TaskReader
from app.models.task import TaskStatus, WaitingReason
from app.models.task_filter import TaskFilter
from app.schemas.error_group import Fingerprint
from app.schemas.json_value import ShortText, Tag
from app.schemas.task_filter import MAX_VALUES, TaskFilterIn
from app.schemas.task_values import Moment, PriorityIn
from app.services.accounts.auth_service import Principal


def _number(value: object) -> object:
    """Parse a digit: in a query every number is text."""
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) == 1 else value


def _query(name: str) -> Any:
    """The parameter that has the meaning of this field of a filter in a body."""
    return Query(description=TaskFilterIn.model_fields[name].description)


def _repeatable(name: str) -> Any:
    return Query(max_length=MAX_VALUES, description=f"{TaskFilterIn.model_fields[name].description} Repeatable.")


PriorityFilter = Annotated[PriorityIn, BeforeValidator(_number)]
Status = Annotated[list[TaskStatus], _repeatable("status")]
Tags = Annotated[list[Tag], _repeatable("tag")]
Whose = Annotated[UUID | Literal["all"] | None, _query("user_id")]
WhoseByDefaultAll = Annotated[
    UUID | Literal["all"] | None,
    Query(description="Administrators: those of this user; by default, and with `all`, of all users."),
]


def task_filter(
    user: TaskReader,
    *,
    status: Status = [],  # noqa: B006 (FastAPI copies it)
    task_type: Annotated[ShortText | None, _query("task_type")] = None,
    celery_task_name: Annotated[ShortText | None, _query("celery_task_name")] = None,
    priority: Annotated[PriorityFilter | None, _query("priority")] = None,
    queue: Annotated[ShortText | None, _query("queue")] = None,
    tag: Tags = [],  # noqa: B006
    name: Annotated[ShortText | None, _query("name")] = None,
    waiting_for: Annotated[WaitingReason | None, _query("waiting_for")] = None,
    error: Annotated[Fingerprint | None, _query("error")] = None,
    created_after: Annotated[Moment | None, _query("created_after")] = None,
    created_before: Annotated[Moment | None, _query("created_before")] = None,
    user_id: Whose = None,
) -> TaskFilter:
    """Return the requested filter. Raises AdminOnly or InsufficientScope for tasks of other users."""
    return filter_of(
        user,
        user_id,
        status,
        waiting_for=waiting_for,
        error=error,
        task_type=task_type,
        celery_task_name=celery_task_name,
        priority=priority,
        queue=queue,
        tag=tag,
        name=name,
        created_after=created_after,
        created_before=created_before,
    )


def filter_of(
    user: Principal,
    user_id: UUID | Literal["all"] | None = None,
    status: Sequence[TaskStatus] = (),
    *,
    waiting_for: WaitingReason | None = None,
    error: str | None = None,
    **fields: Any,
) -> TaskFilter:
    """Return the filter of these values. Raises AdminOnly or InsufficientScope for tasks of other users."""
    # All that wait are pending, and all that have a fingerprint are failed: an index serves that.
    states = status or ([TaskStatus.PENDING] if waiting_for else [TaskStatus.FAILED] if error else [])
    # A fingerprint is of one user: an administrator need not name them.
    owner = visible_to_admin(user, user_id) if error else _visible_owner(user, user_id)
    return TaskFilter(user_id=owner, status=states, waiting_for=waiting_for, error=error, **fields)


def _visible_owner(user: Principal, wanted: UUID | Literal["all"] | None) -> UUID | None:
    if wanted is None or wanted == user.id:
        return user.id
    user.check_admin("see the tasks of others")
    return None if wanted == "all" else wanted


def visible_to_admin(user: Principal, wanted: UUID | Literal["all"] | None) -> UUID | None:
    """As for tasks, but administrators see what is of all users if they name none."""
    return _visible_owner(user, "all" if wanted is None and user.is_admin else wanted)


TaskFilterDep = Annotated[TaskFilter, Depends(task_filter)]
