"""The query parameters of lists and counts of tasks, and the users whose tasks a caller may read."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Depends, Query
from pydantic import BeforeValidator

from app.api.deps import TaskReader
from app.models.task import TaskPriority, TaskStatus, WaitingReason
from app.models.task_filter import TaskFilter
from app.schemas.error_group import Fingerprint
from app.schemas.json_value import ShortText, Tag
from app.schemas.task_values import Moment, PriorityIn
from app.services.accounts.auth_service import Principal


def _number(value: object) -> object:
    """Parse a digit: in a query every number is text."""
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) == 1 else value


PriorityFilter = Annotated[PriorityIn, BeforeValidator(_number)]
Status = Annotated[list[TaskStatus], Query(max_length=20, description="Tasks in any of these states. Repeatable.")]
Tags = Annotated[list[Tag], Query(max_length=20, description="Tasks with all of these tags. Repeatable.")]
Whose = Annotated[
    UUID | Literal["all"] | None,
    Query(description="Administrators: the tasks of this user, or of `all` users. Default: your tasks."),
]
WhoseByDefaultAll = Annotated[
    UUID | Literal["all"] | None,
    Query(description="Administrators: those of this user; by default, and with `all`, of all users."),
]


def task_filter(
    user: TaskReader,
    *,
    status: Status = [],  # noqa: B006 (FastAPI copies it)
    task_type: Annotated[ShortText | None, Query(description="Tasks with this task_type.")] = None,
    celery_task_name: Annotated[ShortText | None, Query(description="Tasks that run this task.")] = None,
    priority: Annotated[PriorityFilter | None, Query(description="Tasks with this priority.")] = None,
    queue: Annotated[ShortText | None, Query(description="Tasks in this queue.")] = None,
    tag: Tags = [],  # noqa: B006
    name: Annotated[ShortText | None, Query(description="Tasks whose name contains this text, ignoring case.")] = None,
    waiting_for: Annotated[WaitingReason | None, Query(description="Pending tasks that wait for this reason.")] = None,
    error: Annotated[
        Fingerprint | None,
        Query(description="Tasks that are failed with this error: a `fingerprint` of `GET /errors/`."),
    ] = None,
    created_after: Annotated[Moment | None, Query(description="Tasks created after this time.")] = None,
    created_before: Annotated[Moment | None, Query(description="Tasks created before this time.")] = None,
    user_id: Whose = None,
) -> TaskFilter:
    """Return the requested filter. Raises AdminOnly or InsufficientScope for tasks of other users."""
    return TaskFilter(
        # A fingerprint is of one user: an administrator need not name them.
        user_id=visible_to_admin(user, user_id) if error else _visible_owner(user, user_id),
        # All of them are pending: an index serves that.
        status=status or ([TaskStatus.PENDING] if waiting_for else []) or ([TaskStatus.FAILED] if error else []),
        task_type=task_type,
        celery_task_name=celery_task_name,
        priority=None if priority is None else TaskPriority(priority),
        queue=queue,
        tag=tag,
        name=name,
        waiting_for=waiting_for,
        error=error,
        created_after=created_after,
        created_before=created_before,
    )


def _visible_owner(user: Principal, wanted: UUID | Literal["all"] | None) -> UUID | None:
    if wanted is None or wanted == user.id:
        return user.id
    user.check_admin("see the tasks of others")
    return None if wanted == "all" else wanted


def visible_to_admin(user: Principal, wanted: UUID | Literal["all"] | None) -> UUID | None:
    """As for tasks, but administrators see what is of all users if they name none."""
    return _visible_owner(user, "all" if wanted is None and user.is_admin else wanted)


TaskFilterDep = Annotated[TaskFilter, Depends(task_filter)]
