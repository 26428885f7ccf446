"""Workers that are rows alone, and tasks that they run."""

from typing import Any
from uuid import UUID

from app.core.ids import new_id
from app.db.session import SessionLocal
from app.models import WorkerProcess
from app.services.execution.attempts import WorkerIdentity
from tests.support.task_client import TaskClient
from tests.support.tasks import claim, flush_admitter, new_task


def a_worker(name: str = "w@here", **options: Any) -> WorkerIdentity:
    """One that serves `default` with two slots."""
    worker_id = new_id()
    row = {"pid": 4711, "queues": ["default"], "concurrency": 2, "version": "1.2", "memory_bytes": 3 << 20} | options
    with SessionLocal.begin() as db:
        db.add(WorkerProcess(id=worker_id, name=name, **row))
    return WorkerIdentity(name, worker_id, 4712)


def running(tasks: TaskClient, worker: WorkerIdentity, number: int = 1, **options: Any) -> list[UUID]:
    """So many tasks of the user that this worker runs."""
    with SessionLocal() as db:
        found = [new_task(db, UUID(tasks.user["id"]), **options) for _ in range(number)]
        flush_admitter()
        for task in found:
            claim(db, task, worker)
        return [task.id for task in found]
