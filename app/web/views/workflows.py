"""Workflows: the list with a bar of states, and one as a graph, with when its tasks ran and what can be done to it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import Query, Request, Response

from app.api.deps import SessionDep
from app.api.http.responses import Cursor
from app.api.http.router import SlashRouter
from app.core.drawing import Bar, row
from app.db.statements.workflows import Node
from app.models.task import TERMINAL, TaskStatus
from app.schemas.workflow import WorkflowSummary
from app.services.workflows import reading
from app.services.workflows.reading import WorkflowFilter
from app.services.workflows.service import workflow_service
from app.web.access import PageUser
from app.web.forms import Confirmed, ListQuery, ask_to_confirm, names_of_owners, next_page, path_of
from app.web.responses import NavigationEntry, page, redirect
from app.web.workflow_picture import MOST_BOXES, critical_path, picture, seconds_of, timeline

router = SlashRouter()
NAVIGATION = (NavigationEntry(3, "/workflows", "Workflows"),)

ROWS = 50
# Rows of the table of layers, rows of the timeline, and steps of the critical path that are named.
LAYER_ROWS, TIMES, STEPS = 200, 60, 8
# Of the bar, from left to right.
_STATES = (TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.REVOKED, TaskStatus.RUNNING)


class Asked(ListQuery, WorkflowFilter):
    """The filters are those of the API."""


@router.get("/workflows")
def list_workflows(
    request: Request, db: SessionDep, user: PageUser, asked: Annotated[Asked, Query()], cursor: Cursor = None
) -> Response:
    """List workflows, the newest first."""
    found = workflow_service.list_workflows(db, asked.of(user), ROWS, cursor=cursor)
    named = asked.named(user)
    values = {
        "rows": [(each, _bar(each)) for each in found.items],
        "owners": names_of_owners(db, user, (each.user_id for each in found.items)),
        "asked": named,
        "tabs": [(each, path_of("/workflows", named, status=each)) for each in (None, *TaskStatus)],
        "status": asked.status,
        "next_page": next_page(found, "/workflows", named),
    }
    return page(request, "workflows.html", values)


@router.get("/workflows/{workflow_id}")
def show_workflow(request: Request, db: SessionDep, user: PageUser, workflow_id: UUID) -> Response:
    shown, nodes = reading.read_with_nodes(db, workflow_id, user.owner)
    earlier = reading.earlier_attempts(db, nodes)
    workflow = WorkflowSummary.model_validate(shown)
    owner = names_of_owners(db, user, [workflow.user_id]).get(workflow.user_id)
    db.rollback()  # all is read, and to draw a thousand tasks may take longer than a transaction may be idle
    way, drawn = critical_path(nodes), picture(nodes)
    values = {
        "workflow": workflow,
        "bar": _bar(workflow),
        "picture": drawn,
        "most_boxes": MOST_BOXES,
        "layers": drawn.boxes[:LAYER_ROWS],
        "left_out": len(drawn.boxes) - LAYER_ROWS,
        "way": _shortened(way),
        "way_seconds": seconds_of(way),
        "timeline": timeline(nodes, earlier, datetime.now(UTC), TIMES),
        "troubled": [node for node in nodes if node.status is TaskStatus.FAILED][:3],
        "owner": owner,
        "is_over": workflow.status in TERMINAL,
    }
    return page(request, "workflow.html", values)


@router.post("/workflows/{workflow_id}/cancel")
def cancel_workflow(
    request: Request, db: SessionDep, user: PageUser, workflow_id: UUID, confirmed: Confirmed = False
) -> Response:  # fmt: skip
    if not confirmed:
        return _ask(request, db, user, workflow_id, "cancel_workflow")
    workflow_service.cancel_workflow(db, workflow_id, owner=user.owner)
    return redirect(request, f"/workflows/{workflow_id}", "workflow_cancelled")


@router.post("/workflows/{workflow_id}/retry")
def retry_workflow(request: Request, db: SessionDep, user: PageUser, workflow_id: UUID) -> Response:
    workflow_service.retry_workflow(db, workflow_id, owner=user.owner, within_quota=True, rights=user.rights)
    return redirect(request, f"/workflows/{workflow_id}", "workflow_retried")


@router.post("/workflows/{workflow_id}/delete")
def delete_workflow(
    request: Request, db: SessionDep, user: PageUser, workflow_id: UUID, confirmed: Confirmed = False
) -> Response:  # fmt: skip
    if not confirmed:
        return _ask(request, db, user, workflow_id, "delete_workflow")
    workflow_service.delete_workflow(db, workflow_id, owner=user.owner)
    return redirect(request, "/workflows", "workflow_deleted")


def _ask(request: Request, db: SessionDep, user: PageUser, workflow_id: UUID, deed: str) -> Response:
    workflow = workflow_service.get_workflow(db, workflow_id, owner=user.owner)
    return ask_to_confirm(request, deed, workflow.name, f"/workflows/{workflow_id}")


def _bar(workflow: WorkflowSummary) -> list[Bar]:
    """Return the shares of the states of its tasks; what is pending is left free."""
    return row({each.value: getattr(workflow.counts, each.value) for each in _STATES}, workflow.counts.total)


def _shortened(way: Sequence[Node]) -> list[Node | None]:
    """Return the first and the last steps of the critical path; None stands for those in between."""
    return list(way) if len(way) <= STEPS else [*way[: STEPS // 2], None, *way[-STEPS // 2 :]]
