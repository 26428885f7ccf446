"""One worker, for administrators: its slots, what it ran last, and its drain. The list is on the page of queues."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Path, Request, Response

from app.api.deps import SessionDep
from app.api.http.router import SlashRouter
from app.api.http.turns import costly
from app.models.worker import WorkerState
from app.services.operations import worker_service
from app.services.operations.worker_service import LOOK
from app.web.access import PageAdmin
from app.web.forms import Back, Confirmed, ask_to_confirm, checked_back
from app.web.responses import page, redirect

router = SlashRouter()

Name = Annotated[str, Path(max_length=200)]


@router.get("/workers/{name}")
@costly(lambda _: True)
def show_worker(request: Request, db: SessionDep, _admin: PageAdmin, name: Name) -> Response:
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
    name: Name,
    back: Back = "/queues",
    confirmed: Confirmed = False,
) -> Response:
    back = checked_back(back, "/queues")
    if not confirmed:
        return ask_to_confirm(request, "drain", worker_service.get_worker(db, name).name, back)
    worker_service.drain_worker(db, name)
    return redirect(request, back, "draining")
