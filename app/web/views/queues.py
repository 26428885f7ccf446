"""Queues: what waits and runs in each, why one stands, who fills it; and a page for each worker."""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Form, Path, Query, Request, Response
from sqlalchemy.orm import Session

from app.api.deps import SessionDep
from app.api.http.router import SlashRouter
from app.api.http.turns import costly
from app.core.drawing import chart
from app.models.task import TaskPriority
from app.models.worker import WorkerState
from app.services.operations import queue_service, stats_service, worker_service
from app.services.operations.queue_service import QueueState
from app.services.operations.stats_service import StatsKey, StatsWindow
from app.services.operations.worker_service import LOOK
from app.services.user_service import user_service
from app.web.access import PageAdmin, PageUser
from app.web.forms import Back, Confirmed, ask_to_confirm, checked_back
from app.web.responses import NavigationEntry, page, redirect

router = SlashRouter()
NAVIGATION = (NavigationEntry(4, "/queues", "Queues", text_to_admins="Queues and workers"),)
OBJECT_PAGES = {"queue": "/queues/", "worker": "/workers/"}

# A name may hold slashes: the paths below take all up to their last part.
QueueName = Annotated[str, Path(max_length=200)]
# How many users of the lines are shown.
USERS = 20
# A task that is due and waits longer beside a free slot waits for something else.
SOON_SECONDS = 10


@router.get("/queues")
@costly(lambda _: True)
def show_queues(request: Request, db: SessionDep, user: PageUser) -> Response:
    queues = queue_service.list_queues(db, to_admin=user.is_admin)
    values = {
        "queues": [(queue, why_it_stands(queue)) for queue in queues],
        "paused_by": _paused_by(db, queues),
        "workers": worker_service.list_workers(db) if user.is_admin else None,
    }
    return page(request, "queues.html", values)


@router.get("/queues/{name:path}")
@costly(lambda _: True)
def show_queue(
    request: Request,
    db: SessionDep,
    user: PageUser,
    name: QueueName,
    window: Annotated[StatsWindow, Query()] = StatsWindow.HOUR,
) -> Response:
    queue = queue_service.get_queue(db, name, to_admin=user.is_admin)
    stats = stats_service.get_stats_of(db, name, user.owner, window=window, by=StatsKey.QUEUE)
    ends = {kind: getattr(stats.series, kind) for kind in ("succeeded", "failed", "revoked")}
    values: dict[str, Any] = {
        "queue": queue,
        "why": why_it_stands(queue),
        "paused_by": _paused_by(db, [queue]),
        "chart": chart(stats.from_, stats.step_seconds, stacked=ends, lines={"submitted": stats.series.submitted}),
        "window": window.value,
        "windows": [each.value for each in StatsWindow],
        **(_for_admins(db, name) if user.is_admin else {"lines": None, "workers": None}),
    }
    return page(request, "queue.html", values)


def _for_admins(db: Session, name: str) -> dict[str, Any]:
    lines = queue_service.queue_lines(db, name)
    users = lines.users[:USERS]
    return {
        "lines": users,
        "other_users": len(lines.users) - len(users),
        "in_line": sum(line.total for line in lines.users),
        "by_priority": {
            priority.value: sum(line.by_priority.get(priority, 0) for line in lines.users)
            for priority in reversed(TaskPriority)
        },
        "is_cut": lines.is_cut,
        "names": user_service.usernames(db, {line.user_id for line in users}),
        "workers": [worker for worker in worker_service.list_workers(db) if name in worker.queues],
    }


def why_it_stands(queue: QueueState) -> str:
    """Return what a reader asks first of a queue: one word, which the templates say as a sentence."""
    if queue.paused:
        return "paused"
    if not queue.workers:
        return "no_worker"
    if queue.startable and queue.slots_used >= queue.slots:
        return "full"
    if queue.ready and (queue.oldest_ready_seconds or 0) > SOON_SECONDS:
        return "held"
    if queue.running or queue.startable:
        return "runs"
    return "later" if queue.pending else "idle"


def _paused_by(db: Session, queues: list[QueueState]) -> dict[UUID, str]:
    return user_service.usernames(db, {queue.paused_by for queue in queues if queue.paused_by})


@router.post("/queues/{name:path}/pause")
def pause(
    request: Request,
    db: SessionDep,
    _admin: PageAdmin,
    name: QueueName,
    reason: Annotated[str, Form(max_length=500)] = "",
    back: Back = "/queues",
) -> Response:
    queue_service.pause_queue(db, name, reason.strip() or None)
    return redirect(request, checked_back(back, "/queues"), "paused")


@router.post("/queues/{name:path}/resume")
def resume(request: Request, db: SessionDep, _admin: PageAdmin, name: QueueName, back: Back = "/queues") -> Response:
    queue_service.resume_queue(db, name)
    return redirect(request, checked_back(back, "/queues"), "resumed")


# -- One worker, for administrators: its slots, what it ran last, and its drain. The list is on the page of queues -----

WorkerName = Annotated[str, Path(max_length=200)]


@router.get("/workers/{name}")
@costly(lambda _: True)
def show_worker(request: Request, db: SessionDep, _admin: PageAdmin, name: WorkerName) -> Response:
    worker = worker_service.get_worker(db, name)
    values: dict[str, Any] = {
        "worker": worker,
        "free": max(worker.concurrency - len(worker.running), 0),
        "silent_seconds": (datetime.now(UTC) - worker.last_heartbeat_at).total_seconds(),
        "lost": worker_service.lost_attempts(db, name) if worker.state is WorkerState.LOST else [],
        "tasks": worker_service.last_tasks(db, name),
        "looked_at": LOOK,
    }
    return page(request, "worker.html", values)


@router.post("/workers/{name}/drain")
def drain(
    request: Request,
    db: SessionDep,
    _admin: PageAdmin,
    name: WorkerName,
    back: Back = "/queues",
    confirmed: Confirmed = False,
) -> Response:
    back = checked_back(back, "/queues")
    if not confirmed:
        return ask_to_confirm(request, "drain", worker_service.get_worker(db, name).name, back)
    worker_service.drain_worker(db, name)
    return redirect(request, back, "draining")
