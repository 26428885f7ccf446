"""One group of failures: its newest traceback, its tasks, when it failed, and on which workers."""

from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Request, Response
from sqlalchemy.orm import Session

from app.api.deps import SessionDep
from app.api.http.router import SlashRouter
from app.api.http.turns import costly
from app.errors import TaskNotFound
from app.models.task import TaskStatus
from app.models.task_filter import TaskFilter
from app.schemas.task import TaskAttemptRead, TaskRead
from app.services.operations import error_group_service
from app.services.operations.error_group_service import HOUR
from app.services.task_service import task_service
from app.services.user_service import user_service
from app.web.access import PageUser
from app.web.charts import plot
from app.web.responses import page
from app.web.shown_tasks import seconds_of, shown
from app.web.views.errors import Fingerprint

router = SlashRouter()

TASKS = 10
# Hours of each window.
WINDOWS = {"24h": 24, "7d": 168}


@router.get("/errors/{fingerprint}")
@costly(lambda _: True)
def show_error_group(
    request: Request,
    db: SessionDep,
    user: PageUser,
    fingerprint: Fingerprint,
    window: Annotated[str, Query(pattern="^(24h|7d)$")] = "24h",
) -> Response:
    group = error_group_service.get_error_group(db, fingerprint, owner=user.owner)
    failed = TaskFilter(user_id=user.owner, status=[TaskStatus.FAILED], error=fingerprint)
    tasks = shown(task_service.show_page(db, failed, TASKS).items)
    begin, hours = error_group_service.failures_by_hour(db, fingerprint, WINDOWS[window])
    values: dict[str, Any] = {
        "group": group,
        "attempt": _attempt_of(db, tasks[0], user.owner) if tasks else None,
        "tasks": tasks,
        "seconds_of": seconds_of,
        "workers": Counter(task.worker for task in tasks if task.worker).most_common(),
        "plot": plot(begin, HOUR, {"failed": hours}),
        "window": window,
        "windows": list(WINDOWS),
        "owner": user_service.usernames(db, {group.user_id}).get(group.user_id) if user.is_admin else None,
        "earliest": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M"),
    }
    return page(request, "error_group.html", values)


def _attempt_of(db: Session, task: TaskRead, owner: UUID | None) -> TaskAttemptRead | None:
    """Return the attempt that failed; None where the task is gone, or was retried meanwhile."""
    with suppress(TaskNotFound):
        for attempt in task_service.list_attempts(db, task.id, 1, owner=owner, after=task.attempt - 1).items:
            return TaskAttemptRead.model_validate(attempt, from_attributes=True)
    return None
