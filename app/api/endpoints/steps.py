"""The endpoint of the steps that a task has done."""

from fastapi import Request, Response

from app.api.deps import SessionDep, TaskReader
from app.api.endpoints.tasks import TaskId
from app.api.http.paging import LINK_HEADER, MAX_LIMIT, Cursor, Limit, read_number
from app.api.http.problems import problems
from app.api.http.rendering import ListRenderer
from app.api.http.router import SlashRouter
from app.errors import InsufficientScope, InvalidCursor, TaskNotFound
from app.schemas.task_step import TaskStepRead
from app.services.task_service import task_service

router = SlashRouter(prefix="/tasks", tags=["tasks"])

_STEPS = ListRenderer(TaskStepRead)


@router.get(
    "/{task_id}/steps",
    response_model=list[TaskStepRead],
    response_description="The steps, in the order in which they ended",
    responses={200: {"headers": LINK_HEADER}, **problems(401, InsufficientScope, TaskNotFound, InvalidCursor)},
)
def list_task_steps(
    request: Request, db: SessionDep, user: TaskReader, task_id: TaskId, limit: Limit = MAX_LIMIT, cursor: Cursor = None
) -> Response:
    """List the steps that the bodies of a task have done by `self.step`, with their results.

    A later attempt gets the result of a step that is listed, and does not run it. A page ends at `limit` steps and at
    1 MiB; the `Link` header then names the next page.
    """
    page = task_service.list_steps(db, task_id, limit, owner=user.owner, after=read_number(cursor))
    return _STEPS.page(request, page, lambda step: step.seq)
