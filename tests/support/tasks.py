"""Rows to test with: users and tasks in any state, made as the service makes them."""

import faulthandler
import functools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete, insert, literal, select
from sqlalchemy.orm import Session

from app.catalogue import catalogue
from app.core.config import get_settings
from app.core.ids import new_id
from app.core.security import create_access_token, hash_password
from app.db.sql import prepared, transitions
from app.db.statements import limits, pending_rows
from app.db.statements.pending_rows import CLAIMED
from app.errors import AttemptLost, InvalidTransition, TaskActive, TaskCancelled, TaskNotFound
from app.messaging.application import QUEUES
from app.models import Task, User
from app.models.auth import LoginSession
from app.models.task import TaskPriority, TaskStatus
from app.services.execution import ends
from app.services.execution.attempts import AttemptError, Claim, NextTry, WorkerIdentity
from app.services.execution.claims import Claims, ReadyClaim
from app.services.operations import admission
from app.services.task_service import task_service
from app.worker.child.attempt_run import AttemptRun
from app.worker.child.process import ChildProcess
from tests.support.accounts import PASSWORD
from tests.support.databases import ENGINE

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
    values = {"claim_id": new_id(), "worker": worker.name, "worker_id": worker.id, "worker_pid": worker.pid}
    if _takes_places(db, task.id, worker):
        transitions.move_tasks(db, TaskStatus.RUNNING, Task.id == task.id, sources=[TaskStatus.PENDING], values=values)
    row = select(*CLAIMED).where(Task.id == task.id, Task.claim_id == values["claim_id"])
    claimed = Claim(*db.execute(row).one())
    db.commit()
    return claimed


def finish(db: Session, task: Task, ending: ends.Ending | None = None) -> None:
    """Have a body run to this end; without one, it succeeds."""
    assert ends.end_attempt(db, task.id, claim(db, task).attempt, ending or ends.succeeded({"rows": 3}))
    db.commit()


def _takes_places(db: Session, task_id: UUID, worker: WorkerIdentity) -> bool:
    """As a claim does, where no trigger does it; False if one is missing."""
    if ENGINE == "postgresql":
        return True
    row = db.execute(select(Task.attempt + 1, Task.limit, Task.user_limited).where(Task.id == task_id)).one()
    return task_id in limits.take_places(db, [(task_id, row[0], row[1], bool(row[2]))], worker.id, worker.pid)


def lines_of(*queues: str) -> list[tuple[str, str]]:
    """The lines of these queues (of all, if none is named), in the order in which a worker serves them."""
    return [(queue, priority.value) for queue in queues or QUEUES for priority in reversed(TaskPriority)]


def names(*short: str) -> pending_rows.TaskNames:
    """What a pool process knows; these tasks were short when it ran them last."""
    return pending_rows.TaskNames(sorted(catalogue()), list(short))


def claim_next(db: Session, *queues: str, short: Sequence[str] = (), claims: Claims | None = None) -> list[ReadyClaim]:
    """What a pool process of `WORKER` gets that looks into these queues: its first look, without `claims`."""
    found = (claims or Claims(lines_of(*queues))).next(db, names(*short), new_id(), WORKER)
    db.commit()
    return found


def first_claim(db: Session) -> None:
    """The first one of a database, which others wait for: on MySQL it makes the row that all claims share."""
    new_task(db, priority="low")
    assert claim_next(db, "low_priority")


def next_run(child: ChildProcess | None = None, queue: str = "default") -> AttemptRun | None:
    """What a child of `WORKER` runs when it takes the next task of the queue."""
    child = child or ChildProcess(WORKER.id, get_settings(), pid=WORKER.pid)
    with prepared.prepared_connection() as db:
        found = Claims(lines_of(queue)).next(db, names(), new_id(), child.identity(WORKER.name))
    return AttemptRun(found[0], child) if found else None


def task_in(db: Session, status: TaskStatus, user_id: UUID | None = None, **options: Any) -> Task:
    """A task in this state, by the way that leads there."""
    task = new_task(db, user_id, **options)
    if status is TaskStatus.REVOKED:
        task_service.cancel(db, task.id)
    elif status is not TaskStatus.PENDING:
        attempt = claim(db, task).attempt
        if status is TaskStatus.SUCCEEDED:
            ends.end_attempt(db, task.id, attempt, ends.succeeded({"answer": 42}))
        elif status is TaskStatus.FAILED:
            ends.end_attempt(db, task.id, attempt, ends.failed(ERROR))
        db.commit()
    return task_service.get_task(db, task.id)


def retried(db: Session, task: Task, delay: float = 0) -> None:
    """Its running attempt fails, and another one is due in `delay` seconds."""
    ends.end_attempt(db, task.id, task.attempt, ends.retried(ERROR, NextTry(delay)))
    db.commit()


def give_id(db: Session, task_id: UUID, new: UUID, **columns: Any) -> None:
    """Have this task under another id, as if a machine with another clock had made it. Its attempts are gone.

    By a copy, since the id of a row is fixed.
    """
    table = Task.__table__
    values = {"id": new, **columns}
    copied = [literal(values[each.name], each.type) if each.name in values else each for each in table.c]
    row = select(*copied).where(table.c.id == task_id)
    db.execute(insert(table).from_select([each.name for each in table.c], row, include_defaults=False))
    db.execute(delete(table).where(table.c.id == task_id))


def flush_admitter() -> None:
    """Wait until all tasks are admitted that can be. Where that takes long, the error output has what each thread does."""
    if not admission.flush_admissions(20):
        faulthandler.dump_traceback(all_threads=True)
        raise AssertionError("the admitter is busy for 20 s: what it does is in the error output")
