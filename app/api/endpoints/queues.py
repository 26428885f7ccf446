"""Endpoints of queues: list, demand, pause, resume."""

from typing import Annotated

from fastapi import Path

from app.api.deps import AdminUser, SessionDep, TaskReader
from app.api.http.problems import Answers
from app.api.http.router import SlashRouter
from app.api.http.turns import costly
from app.errors import QueueNotFound
from app.schemas.queue import DemandRead, QueuePause, QueuePauseRead, QueueRead
from app.services.operations import queue_service
from app.services.operations.demand import Demand, read_demand
from app.services.operations.queue_service import PauseState, QueueState

router = SlashRouter(prefix="/queues", tags=["queues"])
TAG_DESCRIPTION = "What waits and runs in each queue. For administrators: pause and resume."

QueueName = Annotated[
    str, Path(max_length=200, description="The queue's name.", examples=["default"]), Answers(QueueNotFound)
]


@router.get("/", response_model=list[QueueRead], response_description="All queues")
@costly(lambda _: True)
def list_queues(db: SessionDep, user: TaskReader) -> list[QueueState]:
    """List the queues: what waits and runs in each, whether it is paused, and how many workers serve it."""
    return queue_service.list_queues(db, to_admin=user.is_admin)


@router.get("/{name:path}/demand", response_model=DemandRead, response_description="The demand")
def show_demand(
    db: SessionDep,
    _user: TaskReader,
    name: Annotated[str, Path(max_length=200, description="Any name.", examples=["default"])],
) -> Demand:
    """Show how many slots a queue could use: what an autoscaler asks again and again.

    It costs the same however many tasks wait. Any name is answered; an unknown one with zeros.
    """
    return read_demand(db, name)


@router.post("/{name:path}/pause", response_model=QueuePauseRead, response_description="The paused queue")
def pause_queue(db: SessionDep, _admin: AdminUser, name: QueueName, body: QueuePause) -> PauseState:
    """Pause a queue. From the answer on none of its tasks starts. What runs goes on, and submitting stays possible.

    The pause lasts until the queue is resumed, also over restarts of all servers. If the queue is already paused, the
    new reason replaces the old one. Administrators only.
    """
    return queue_service.pause_queue(db, name, body.reason)


@router.post("/{name:path}/resume", response_model=QueuePauseRead, response_description="The resumed queue")
def resume_queue(db: SessionDep, _admin: AdminUser, name: QueueName) -> PauseState:
    """Resume a queue: its waiting tasks start within seconds, in their order. Administrators only."""
    return queue_service.resume_queue(db, name)
