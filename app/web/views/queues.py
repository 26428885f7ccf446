"""Queues, and for administrators the workers: pause, resume, drain."""

from typing import Annotated

from fastapi import Form, Path, Request, Response

from app.api.deps import SessionDep
from app.api.http.router import SlashRouter
from app.api.http.turns import costly
from app.services.operations import queue_service, worker_service
from app.web.access import PageAdmin, PageUser
from app.web.rendering import NavigationEntry, page, redirect

router = SlashRouter()
NAVIGATION = (NavigationEntry(4, "/queues", "Queues", text_to_admins="Queues and workers"),)

Name = Annotated[str, Path(max_length=200)]


@router.get("/queues")
@costly(lambda _: True)
def show_queues(request: Request, db: SessionDep, user: PageUser) -> Response:
    values = {
        "queues": queue_service.list_queues(db, to_admin=user.is_admin),
        "workers": worker_service.list_workers(db) if user.is_admin else None,
    }
    return page(request, "queues.html", values)


@router.post("/queues/{name}/pause")
def pause(
    request: Request, db: SessionDep, _admin: PageAdmin, name: Name, reason: Annotated[str, Form(max_length=500)] = ""
) -> Response:
    queue_service.pause_queue(db, name, reason.strip() or None)
    return redirect(request, "/queues", "paused")


@router.post("/queues/{name}/resume")
def resume(request: Request, db: SessionDep, _admin: PageAdmin, name: Name) -> Response:
    queue_service.resume_queue(db, name)
    return redirect(request, "/queues", "resumed")


@router.post("/workers/{name}/drain")
def drain(request: Request, db: SessionDep, _admin: PageAdmin, name: Name) -> Response:
    worker_service.drain_worker(db, name)
    return redirect(request, "/queues", "draining")
