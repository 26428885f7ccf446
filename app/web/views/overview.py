"""The first page: whether the service is well, and what runs longest."""

from fastapi import Request, Response

from app.api.deps import SessionDep
from app.api.http.router import SlashRouter
from app.api.http.turns import costly
from app.models.task_filter import TaskFilter
from app.services.task_service import task_service
from app.web.access import PageUser
from app.web.rendering import page
from app.web.shown_tasks import shown

router = SlashRouter()

LONGEST = 10


@router.get("/")
@costly(lambda _: True)
def overview(request: Request, db: SessionDep, user: PageUser) -> Response:
    values = {
        "counts": task_service.show_counts(db, TaskFilter(user_id=user.owner)),
        "queues": task_service.list_queues(db, to_admin=user.is_admin),
        "longest": shown(task_service.longest_running(db, LONGEST, owner=user.owner)),
    }
    return page(request, "overview.html", values)
