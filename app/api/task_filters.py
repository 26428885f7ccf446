"""The filter of lists and counts of tasks, and the users whose tasks a caller may read."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Depends, Query

from app.api.deps import TaskReader
from app.models.task import TaskStatus, WaitingReason
from app.models.task_filter import TaskFilter
from app.schemas.task_filter import TaskFilterQuery, named_fields
from app.services.accounts.auth_service import Principal

WhoseByDefaultAll = Annotated[
    UUID | Literal["all"] | None,
    Query(description="Administrators: those of this user; by default, and with `all`, of all users."),
]


async def task_filter(user: TaskReader, query: Annotated[TaskFilterQuery, Query()]) -> TaskFilter:
    """Return the requested filter. Raises AdminOnly or InsufficientScope for tasks of other users."""
    # `async`, because two thread switches would cost more.
    return filter_of(user, **named_fields(query))


def filter_of(
    user: Principal,
    user_id: UUID | Literal["all"] | None = None,
    status: Sequence[TaskStatus] = (),
    *,
    waiting_for: WaitingReason | None = None,
    error: str | None = None,
    schedule_id: UUID | None = None,
    workflow_id: UUID | None = None,
    **fields: Any,
) -> TaskFilter:
    """Return the filter of these values. Raises AdminOnly or InsufficientScope for tasks of other users."""
    # All that wait are pending, and all that have a fingerprint are failed: an index serves that.
    states = status or ([TaskStatus.PENDING] if waiting_for else [TaskStatus.FAILED] if error else [])
    # A fingerprint is of one user, as a schedule and a workflow are: an administrator need not name them.
    is_of_one_user = error or schedule_id or workflow_id
    owner = visible_to_admin(user, user_id) if is_of_one_user else _visible_owner(user, user_id)
    of_one = {"error": error, "schedule_id": schedule_id, "workflow_id": workflow_id}
    return TaskFilter(**{**fields, **of_one, "user_id": owner, "status": states, "waiting_for": waiting_for})


def _visible_owner(user: Principal, wanted: UUID | Literal["all"] | None) -> UUID | None:
    if wanted is None or wanted == user.id:
        return user.id
    user.check_admin("see the tasks of others")
    return None if wanted == "all" else wanted


def visible_to_admin(user: Principal, wanted: UUID | Literal["all"] | None) -> UUID | None:
    """As for tasks, but administrators see what is of all users if they name none."""
    return _visible_owner(user, "all" if wanted is None and user.is_admin else wanted)


TaskFilterDep = Annotated[TaskFilter, Depends(task_filter)]
