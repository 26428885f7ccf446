"""The endpoint of the webhooks of one task."""

from fastapi import Request, Response

from app.api.deps import SessionDep, TaskReader
from app.api.endpoints.tasks import TaskId
from app.api.endpoints.webhooks import DELIVERIES
from app.api.http.paging import LINK_HEADER, Cursor, Limit, read_cursor
from app.api.http.problems import problems
from app.api.http.router import SlashRouter
from app.errors import InsufficientScope, InvalidCursor, TaskNotFound
from app.schemas.webhook import DeliveryRead
from app.services.webhook_service import webhook_service

router = SlashRouter(prefix="/tasks", tags=["tasks"])


@router.get(
    "/{task_id}/deliveries",
    response_model=list[DeliveryRead],
    response_description="Deliveries, newest first",
    responses={200: {"headers": LINK_HEADER}, **problems(401, InsufficientScope, TaskNotFound, InvalidCursor)},
)
def list_task_deliveries(
    request: Request, db: SessionDep, user: TaskReader, task_id: TaskId, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """List the webhooks of the task's ends, newest first: to its `webhook_url` and to endpoints of its owner."""
    page = webhook_service.list_deliveries_of_task(
        db, task_id, owner=user.owner, limit=limit, before=read_cursor(cursor)
    )
    return DELIVERIES.page(request, page, lambda delivery: delivery.id)
