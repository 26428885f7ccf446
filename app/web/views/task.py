"""A task: what became of it, its log and its output, and what can be done to it."""

from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Form, Header, Query, Request, Response

from app.api.deps import SessionDep, WatcherDep
from app.api.http.router import SlashRouter
from app.api.http.sse import stream_or_204
from app.db.listing import Page
from app.db.statements import files
from app.live.streams import version_of
from app.models.audit import AuditEvent
from app.models.outbox import OF_WEBHOOKS
from app.models.task import SEQ_BITS, LogLevel, Task, TaskStatus, WaitingReason
from app.models.webhook import WebhookDelivery
from app.schemas.task import TaskAttemptRead, TaskLogRead, TaskOutputRead, TaskStepRead
from app.schemas.webhook import DeliveryRead
from app.services.accounts.auth_service import Principal
from app.services.audit import audit_service
from app.services.operations.demand import place_in_line
from app.services.task_service import task_service
from app.services.tasks import task_history
from app.services.tasks.task_history import LogFilter
from app.services.webhooks import deliveries
from app.web.access import PageUser, credential_of
from app.web.forms import Confirmed, ask_to_confirm, names_of_owners
from app.web.responses import HEADERS, JSONTexts, page, redirect
from app.web.shown_tasks import as_shown, curl_of, left_of, possible_deeds, times_of
from app.web.views import schedules
from app.web.views.files import PICTURES

router = SlashRouter()
OBJECT_PAGES = {"task": "/tasks/"}

ATTEMPTS = 50
LINES = 500
DELIVERIES = 20
STEPS = 100
CHUNKS, OUTPUT_BYTES = 500, 256 * 1024
LINES_OF_FILE = 1_000_000
LastEventId = Annotated[str | None, Header(alias="Last-Event-ID")]
# The form sends an empty one for all levels.
Level = Annotated[LogLevel | Literal[""] | None, Query()]


@router.get("/tasks/{task_id}")
def show_task(request: Request, db: SessionDep, user: PageUser, task_id: UUID, level: Level = None) -> Response:
    row = task_service.get_task(db, task_id, owner=user.owner)
    (task,) = as_shown([row])
    earlier = max(task.attempt - ATTEMPTS, 0)
    # Not by `task_service`, which would look for the task and its owner again each time.
    found = task_history.page_of_attempts(db, row, ATTEMPTS, task_history.cursor_after(earlier))
    attempts = [TaskAttemptRead.model_validate(each, from_attributes=True) for each in found.items]
    now = datetime.now(UTC)
    logs = task_history.newest_logs(db, task_id, LogFilter(level=LogLevel(level) if level else None), LINES)
    steps = task_history.page_of_steps(db, task_id, STEPS) if row.attempt else Page([], None)
    output = task_history.newest_output(db, task_id, CHUNKS, OUTPUT_BYTES) if row.attempt else Page([], None)
    waits = task.waiting_for is not None and task.waiting_for.reason is WaitingReason.TURN
    values = {
        "task": task,
        "place": place_in_line(db, task_id, task.queue) if waits else None,
        "owner": names_of_owners(db, user, [task.user_id]).get(task.user_id),
        "logs": [TaskLogRead.model_validate(line) for line in logs],
        "is_cut": len(logs) == LINES,
        "level": level or None,
        "levels": [each.value for each in LogLevel],
        "output": [TaskOutputRead.model_validate(chunk) for chunk in output.items],
        "more_output": output.last is not None,
        "attempts": attempts,
        "earlier_attempts": earlier,
        "failures": row.failures,
        "cancelled_by": _cancelled_by(db, row, user),
        "schedule": schedules.schedule_name(db, row.schedule_id),
        "timing": times_of(task, attempts, now),
        "failure": next((each for each in reversed(attempts) if each.error_type), None) if task.error else None,
        "possible": possible_deeds(task),
        "left": left_of(task, now),
        "steps": [TaskStepRead.model_validate(each, from_attributes=True) for each in steps.items],
        "more_steps": steps.last is not None,
        "deliveries": _deliveries(db, row),
        "artifacts": files.artifacts(db, task_id) if row.attempt else [],
        "pictures": PICTURES,
        "curl": curl_of(request, task),
        "json": JSONTexts(),
    }
    db.rollback()  # all is read, and to write large JSON takes longer than a transaction may be idle
    return page(request, "task.html", values)


@router.get("/tasks/{task_id}/logs")
def show_lines(
    request: Request,
    db: SessionDep,
    user: PageUser,
    task_id: UUID,
    after: Annotated[int, Query(ge=0, le=2**63 - 1)] = 0,
    level: Level = None,
) -> Response:
    """Show the lines after that number, for a page that is open."""
    found = task_service.list_logs(db, task_id, LINES, owner=user.owner, after=after, level=level or None)
    return page(request, "lines.html", {"logs": [TaskLogRead.model_validate(line) for line in found.items]})


@router.get("/tasks/{task_id}/output")
def show_chunks(
    request: Request,
    db: SessionDep,
    user: PageUser,
    task_id: UUID,
    after: Annotated[int, Query(ge=0, le=2**63 - 1)] = 0,
) -> Response:
    """Show the output after that number, for a page that is open."""
    found = task_service.list_output(db, task_id, CHUNKS, owner=user.owner, after=after)
    chunks = [TaskOutputRead.model_validate(chunk) for chunk in found.items]
    return page(request, "chunks.html", {"output": chunks, "seen": after >> SEQ_BITS})


@router.get("/tasks/{task_id}/log.txt")
def download_log(db: SessionDep, user: PageUser, task_id: UUID) -> Response:
    """Send the lines as a text file: all of them, or as many as a page of the API holds, which its end says."""
    found = task_service.list_logs(db, task_id, LINES_OF_FILE, owner=user.owner)
    lines = [TaskLogRead.model_validate(line) for line in found.items]
    texts = [f"{line.at.isoformat()} {line.level:<8} {line.logger}: {line.message}\n" for line in lines]
    if found.last is not None:
        texts.append(f"Cut here: GET /api/v1/tasks/{task_id}/logs?after={found.last} lists the rest.\n")
    name = {"Content-Disposition": f'attachment; filename="{task_id}.log.txt"', "X-Content-Type-Options": "nosniff"}
    return Response("".join(texts), media_type="text/plain", headers=HEADERS | name)


@router.get("/tasks/{task_id}/task.json")
def download_task(db: SessionDep, user: PageUser, task_id: UUID) -> Response:
    """Send the task as the API shows it, as a file."""
    (task,) = as_shown([task_service.get_task(db, task_id, owner=user.owner)])
    db.rollback()
    name = {"Content-Disposition": f'attachment; filename="{task_id}.json"'}
    return Response(task.model_dump_json(indent=2), media_type="application/json", headers=HEADERS | name)


@router.get("/tasks/{task_id}/events")
async def follow_task(
    request: Request, user: PageUser, watcher: WatcherDep, task_id: UUID, last_event_id: LastEventId = None
) -> Response:
    stream = await watcher.follow(task_id, credential_of(request, user), version_of(last_event_id))
    return stream_or_204(stream, watcher.leave)


@router.post("/tasks/{task_id}/cancel")
def cancel_task(
    request: Request, db: SessionDep, user: PageUser, task_id: UUID, confirmed: Confirmed = False
) -> Response:  # fmt: skip
    if not confirmed:
        return _ask(request, db, user, task_id, "cancel")
    task_service.cancel(db, task_id, owner=user.owner)
    return redirect(request, f"/tasks/{task_id}", "cancelled")


@router.post("/tasks/{task_id}/run-now")
def run_task_now(request: Request, db: SessionDep, user: PageUser, task_id: UUID) -> Response:
    task_service.run_now(db, task_id, owner=user.owner)
    return redirect(request, f"/tasks/{task_id}", "due")


@router.post("/tasks/{task_id}/retry")
def retry_task(
    request: Request, db: SessionDep, user: PageUser, task_id: UUID, from_start: Annotated[bool, Form()] = False
) -> Response:
    task_service.retry_task(db, task_id, owner=user.owner, from_start=from_start, within_quota=True, rights=user.rights)
    return redirect(request, f"/tasks/{task_id}", "retried")


@router.post("/tasks/{task_id}/delete")
def delete_task(
    request: Request, db: SessionDep, user: PageUser, task_id: UUID, confirmed: Confirmed = False
) -> Response:  # fmt: skip
    if not confirmed:
        return _ask(request, db, user, task_id, "delete")
    task_service.delete(db, task_id, owner=user.owner)
    return redirect(request, "/tasks", "deleted")


def _cancelled_by(db: SessionDep, task: Task, user: Principal) -> tuple[str, str] | None:
    """Return who cancelled the task, as the template says it, and a name; None where the audit does not tell.

    Users who may not read the audit get no other user's name. Bulk operations are recorded without their tasks.
    """
    is_cancelled = task.status is TaskStatus.REVOKED and task.status_reason == "cancelled"
    since = task.cancel_requested_at or task.finished_at
    if since is None or not (is_cancelled or task.status is TaskStatus.RUNNING):
        return None
    # Written after it, in the same transaction: what an earlier cancellation wrote is older.
    found = audit_service.find_newest(db, AuditEvent.TASK_CANCELLED, str(task.id), since)
    if found is None:
        return None
    if limit := found.detail.get("by_limit"):
        return "limit", limit
    if found.actor_id is None:  # by code
        return None
    if found.actor_id == user.id:
        return "reader", ""
    return ("user", found.actor_name or "") if user.is_admin else ("administrator", "")


def _deliveries(db: SessionDep, task: Task) -> list[tuple[DeliveryRead, str]]:
    """Return the newest webhooks of its ends, each with its URL. A task that nobody follows costs no statement."""
    if not (task.followers or 0) & OF_WEBHOOKS and task.webhook_url is None:
        return []
    found = deliveries.DELIVERIES.page(db, DELIVERIES, None, WebhookDelivery.task_id == task.id).items
    urls = deliveries.receivers(db, found)
    return [(DeliveryRead.model_validate(each), urls.get(each.id, "")) for each in found]


def _ask(request: Request, db: SessionDep, user: PageUser, task_id: UUID, deed: str) -> Response:
    task = task_service.get_task(db, task_id, owner=user.owner)
    return ask_to_confirm(request, deed, task.name, f"/tasks/{task_id}")
