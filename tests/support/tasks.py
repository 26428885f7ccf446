"""Rows to test with: users and tasks in any state, made as the service makes them."""

import functools
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.ids import new_id
from app.core.security import create_access_token, hash_password
from app.errors import AttemptLost, InvalidTransition, TaskActive, TaskCancelled, TaskNotFound
from app.models import Task, User
from app.models.login import LoginSession
from app.models.task import TaskStatus
from app.services.execution import attempts
from app.services.execution.attempts import AttemptError, Claim, NextTry, Ticket, WorkerIdentity
from app.services.task_service import task_service
from app.worker.child.attempt_run import AttemptRun
from app.worker.child.process import ChildProcess
from tests.support.accounts import PASSWORD

WORKER = WorkerIdentity("worker@test", new_id(), 4711)
LONG_RUNNING = "app.tasks.common_tasks.long_running_task"
ERROR = AttemptError("ValueError", "no", "Traceback: no")
# What the service raises for an operation that does not fit the task's state.
REFUSALS = (InvalidTransition, TaskNotFound, TaskActive, AttemptLost, TaskCancelled)


@functools.cache
def hash_of_the_password() -> str:
    return hash_password(PASSWORD)


def new_user(db: Session, role: str = "user", password_hash: str = "!") -> UUID:
    """A user straight into the table; their id."""
    user_id = new_id()
    name = f"user-{user_id.hex}"
    address = f"{name}@example.com"
    db.add(
        User(
            id=user_id,
            username=name,
            username_normalized=name,
            email=address,
            email_normalized=address,
            password_hash=password_hash,
            role=role,
        )
    )
    db.commit()
    return user_id


def new_login(db: Session, role: str = "user") -> str:
    """The access token of a new user with `PASSWORD`, as registration and login would leave their rows."""
    user_id, session_id, now = new_user(db, role, hash_of_the_password()), new_id(), datetime.now(UTC)
    db.add(LoginSession(id=session_id, user_id=user_id, expires_at=now + timedelta(days=1)))
    db.commit()
    return create_access_token(user_id, session_id, now)


def new_task(db: Session, user_id: UUID | None = None, **options: Any) -> Task:
    """A pending task of `user_id`, or of a user of its own."""
    fields: dict[str, Any] = {"name": "a task", "task_type": "test", "celery_task_name": LONG_RUNNING, "args": [1]}
    task, _ = task_service.create_task(db, **(fields | options), user_id=user_id or new_user(db))
    return task


def claim(db: Session, task: Task, worker: WorkerIdentity = WORKER) -> Claim:
    """Its next attempt, running."""
    claimed = attempts.claim(db, Ticket(task.id, task.generation, task.celery_task_name), new_id(), worker)
    assert claimed is not None
    db.commit()
    return claimed


def run_of(ticket: Ticket, child: ChildProcess | None = None) -> AttemptRun | None:
    """What a child of `WORKER` gets when it claims."""
    child = child or ChildProcess(WORKER.id, get_settings(), pid=WORKER.pid)
    return AttemptRun.claim_for(ticket, child, WORKER.name)


def task_in(db: Session, status: TaskStatus, user_id: UUID | None = None, **options: Any) -> Task:
    """A task in this state, by the way that leads there."""
    task = new_task(db, user_id, **options)
    if status is TaskStatus.REVOKED:
        task_service.cancel(db, task.id)
    elif status is not TaskStatus.PENDING:
        attempt = claim(db, task).attempt
        if status is TaskStatus.SUCCEEDED:
            attempts.succeed(db, task.id, attempt, {"answer": 42})
        elif status is TaskStatus.FAILED:
            attempts.fail(db, task.id, attempt, ERROR)
        db.commit()
    return task_service.get_task(db, task.id)


def retried(db: Session, task: Task, delay: float = 0) -> None:
    """Its running attempt fails, and another one is due in `delay` seconds."""
    attempts.retry_later(db, task.id, task.attempt, ERROR, NextTry(delay))
    db.commit()
