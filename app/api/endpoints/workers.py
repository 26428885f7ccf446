"""Endpoints of workers: list, one, drain."""

from typing import Annotated

from fastapi import Path

from app.api.deps import AdminUser, SessionDep
from app.api.http.problems import Answers
from app.api.http.router import SlashRouter
from app.errors import WorkerNotFound
from app.schemas.worker import WorkerRead
from app.services.operations import worker_service
from app.services.operations.worker_service import WorkerInfo

router = SlashRouter(prefix="/workers", tags=["workers"])
TAG_DESCRIPTION = "The worker processes and what they run, for administrators."

WorkerName = Annotated[
    str,
    Path(max_length=200, description="Celery's name of the node.", examples=["worker1@host"]),
    Answers(WorkerNotFound),
]


@router.get("/", response_model=list[WorkerRead], response_description="All workers, by name")
def list_workers(db: SessionDep, _admin: AdminUser) -> list[WorkerInfo]:
    """List the workers and what they run. One that has stopped is not listed. Administrators only."""
    return worker_service.list_workers(db)


@router.get("/{name}", response_model=WorkerRead, response_description="The worker")
def get_worker(db: SessionDep, _admin: AdminUser, name: WorkerName) -> WorkerInfo:
    """Get a worker. Administrators only."""
    return worker_service.get_worker(db, name)


@router.post("/{name}/drain", response_model=WorkerRead, response_description="The worker, which takes no more tasks")
def drain_worker(db: SessionDep, _admin: AdminUser, name: WorkerName) -> WorkerInfo:
    """Drain a worker: it starts nothing more and ends when what it runs has ended.

    What runs longer than `SHUTDOWN_GRACE_SECONDS` is handed back and starts on another worker. Under `run_server.py` a
    fresh one takes its place. Administrators only.
    """
    return worker_service.drain_worker(db, name)
