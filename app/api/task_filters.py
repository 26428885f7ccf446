"""The query parameters that lists and counts of tasks share, and whose tasks they may reach."""

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
    """In a query every number is text."""
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) == 1 else value


PriorityFilter = Annotated[PriorityIn, BeforeValidator(_number)]
Status = Annotated[list[TaskStatus], Query(description="Any of these; repeatable.")]
Tags = Annotated[list[Tag], Query(max_length=20, description="All of these; repeatable.")]
Whose = Annotated[
    UUID | Literal["all"] | None,
    Query(description="Administrators: whose tasks, or `all` for everybody's; yours where left out."),
]


def task_filter(
    user: TaskReader,
    status: Status = [],  # noqa: B006 (FastAPI copies it)
    task_type: Annotated[ShortText | None, Query(description="Exactly this task_type.")] = None,
    celery_task_name: Annotated[ShortText | None, Query(description="Exactly this task.")] = None,
    priority: Annotated[PriorityFilter | None, Query(description="low, normal, high or critical.")] = None,
    queue: Annotated[ShortText | None, Query(description="Exactly this queue.")] = None,
    tag: Tags = [],  # noqa: B006
    name: Annotated[ShortText | None, Query(description="Part of the name, in any case.")] = None,
    created_after: Annotated[Moment | None, Query(description="Created later than this.")] = None,
    created_before: Annotated[Moment | None, Query(description="Created earlier than this.")] = None,
    user_id: Whose = None,
) -> TaskFilter:
    """The filter as asked for, within what the caller may see. Raises AdminOnly, InsufficientScope."""
    return TaskFilter(
        user_id=_reach(user, user_id),
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


def _reach(user: Principal, wanted: UUID | Literal["all"] | None) -> UUID | None:
    if wanted is None or wanted == user.id:
        return user.id
    user.check_admin("see the tasks of others")
    return None if wanted == "all" else wanted


TaskFilterDep = Annotated[TaskFilter, Depends(task_filter)]
