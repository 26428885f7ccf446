"""The query parameters of task lists and counts, and whose tasks a caller may see."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Depends, Query
from pydantic import BeforeValidator

from app.api.deps import TaskReader
from app.models.task import TaskPriority, TaskStatus
from app.schemas.json_value import ShortText, Tag
from app.schemas.task import Moment, PriorityIn
from app.services.accounts.auth_service import Principal
from app.services.tasks.task_filter import TaskFilter


def _number(value: object) -> object:
    """Convert one digit to an int: query parameters are text."""
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) == 1 else value


PriorityFilter = Annotated[PriorityIn, BeforeValidator(_number)]
Status = Annotated[list[TaskStatus], Query(description="Matches any of these statuses; repeatable.")]
Tags = Annotated[list[Tag], Query(max_length=20, description="Matches tasks with all of these tags; repeatable.")]
OwnerFilter = Annotated[
    UUID | Literal["all"] | None,
    Query(description="For administrators: the owner's id, or `all` for all tasks. Default: your own tasks."),
]


def task_filter(
    user: TaskReader,
    status: Status = [],  # noqa: B006 (FastAPI copies it)
    task_type: Annotated[ShortText | None, Query(description="Matches this task_type exactly.")] = None,
    celery_task_name: Annotated[ShortText | None, Query(description="Matches this Celery task name exactly.")] = None,
    priority: Annotated[PriorityFilter | None, Query(description="One of low, normal, high and critical.")] = None,
    queue: Annotated[ShortText | None, Query(description="Matches this queue exactly.")] = None,
    tag: Tags = [],  # noqa: B006
    name: Annotated[ShortText | None, Query(description="Matches names that contain this text, ignoring case.")] = None,
    created_after: Annotated[Moment | None, Query(description="Matches tasks created after this time.")] = None,
    created_before: Annotated[Moment | None, Query(description="Matches tasks created before this time.")] = None,
    user_id: OwnerFilter = None,
) -> TaskFilter:
    """Return the filter of the query parameters, limited to tasks that the caller may see.

    Raises AdminOnly, InsufficientScope.
    """
    return TaskFilter(
        user_id=_visible_owner(user, user_id),
        status=status,
        task_type=task_type,
        celery_task_name=celery_task_name,
        priority=None if priority is None else TaskPriority(priority),
        queue=queue,
        tag=tag,
        name=name,
        created_after=created_after,
        created_before=created_before,
    )


def _visible_owner(user: Principal, wanted: UUID | Literal["all"] | None) -> UUID | None:
    if wanted is None or wanted == user.id:
        return user.id
    user.check_admin("see the tasks of others")
    return None if wanted == "all" else wanted


TaskFilterDep = Annotated[TaskFilter, Depends(task_filter)]
