"""For tests of places of limits and of users: what a worker gets, one pass of maintenance, and claimers at once."""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import text, update
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.ids import new_id
from app.db.session import SessionLocal
from app.db.sql import limits as statements, prepared
from app.db.statements import pending_rows
from app.maintenance import lease
from app.maintenance.loop import Maintenance
from app.models import Task, WorkerProcess
from app.models.task import TaskPriority
from app.services.execution import ends
from app.services.execution.claims import Claims
from app.services.operations import admission
from app.services.task_service import task_service
from tests.support.tasks import LONG_RUNNING, WORKER, flush_admitter

QUEUES = ("high_priority", "default", "low_priority")
LINES = [(queue, priority.value) for queue in QUEUES for priority in reversed(TaskPriority)]
SHORT, ONE_AT_A_TIME = (
    pending_rows.TaskNames([LONG_RUNNING], [LONG_RUNNING]),
    pending_rows.TaskNames([LONG_RUNNING], []),
)
SECONDS = 60.0


def served_session() -> Iterator[Session]:
    """A session that commits, in a database that a worker serves."""
    with SessionLocal() as db:
        row = {"name": WORKER.name, "pid": 1, "queues": list(QUEUES), "concurrency": 8, "task_names": [LONG_RUNNING]}
        db.add(WorkerProcess(id=WORKER.id, **row))
        db.commit()
        yield db


def succeed(db: Session, *ids: UUID, attempt: int = 1) -> None:
    """The rows end, then the bodies."""
    for task_id in ids:
        ends.end_attempt(db, task_id, attempt, ends.succeeded(None))
        db.commit()
        body_ends(db, task_id, attempt)


def body_ends(db: Session, task_id: UUID, attempt: int = 1) -> None:
    admission.free_and_admit(db, statements.of_attempts([(task_id, attempt)]))


def maintain(db: Session) -> None:
    """One pass."""
    one = Maintenance(get_settings())
    assert one.run_once(db)
    one.close()
    lease.release(db, one.id)


def held(db: Session) -> dict[str | None, int]:
    """How many pending tasks are held by what."""
    rows = db.execute(text("SELECT held, count(*) AS number FROM tasks WHERE status = 'pending' GROUP BY held"))
    found = {row.held: row.number for row in rows}
    db.commit()
    return found


def places(db: Session) -> int:
    """How many are taken."""
    found = db.execute(text("SELECT count(*) FROM limit_places WHERE ended_at IS NULL")).scalar_one()
    db.commit()
    return int(found)


class Witness:
    """Counts the bodies that run, in all and of each key. `wrong` are the counts with more than are allowed."""

    def __init__(self, most_of_key: int, most: float = float("inf")) -> None:
        self._most, self._most_of_key = most, most_of_key
        self._lock, self._running = threading.Lock(), Counter[str]()
        self.most = self.most_of_key = 0
        self.wrong = list[Counter[str]]()

    def begins(self, key: str) -> None:
        with self._lock:
            self._running[key] += 1
            total, of_key = self._running.total(), self._running[key]
            self.most, self.most_of_key = max(self.most, total), max(self.most_of_key, of_key)
            if total > self._most or of_key > self._most_of_key:
                self.wrong.append(self._running.copy())

    def ends(self, key: str) -> None:
        with self._lock:
            self._running[key] -= 1


def run_all(keys: Mapping[UUID, str], witness: Witness, claimers: int) -> None:
    """Let so many claimers run all tasks, beside maintenance; the witness looks on. `keys` are those of the tasks."""
    deadline = time.monotonic() + SECONDS
    with ThreadPoolExecutor(claimers + 1) as pool:
        chances = [random.Random(seed) for seed in range(claimers)]
        futures = [pool.submit(_claim_and_run, chance, witness, keys, deadline) for chance in chances]
        futures.append(pool.submit(_look_after, deadline))
        for future in futures:
            future.result(SECONDS * 2)
    assert _is_done()
    flush_admitter()


def _is_done() -> bool:
    with SessionLocal() as db:
        return not db.execute(text("SELECT 1 FROM tasks WHERE status IN ('pending', 'running') LIMIT 1")).all()


def _look_after(deadline: float) -> None:
    """Maintenance, one pass after another."""
    one = Maintenance(get_settings())
    while time.monotonic() < deadline and not _is_done():
        with SessionLocal() as db:
            one.run_once(db)
    one.close()


def _claim_and_run(chance: random.Random, witness: Witness, keys: Mapping[UUID, str], deadline: float) -> None:
    """As a pool child does; three of ten rows are ended from outside while the body runs on."""
    looks = Claims(LINES)
    while time.monotonic() < deadline and not _is_done():
        with prepared.prepared_connection() as connection:
            rows = looks.next(connection, ONE_AT_A_TIME, new_id(), WORKER)
        for row in rows:
            witness.begins(keys[row.id])
            time.sleep(chance.uniform(0, 0.01))
            with SessionLocal() as db:
                is_over = chance.random() < 0.3
                if is_over:
                    _end_from_outside(db, row.id, chance)
                witness.ends(keys[row.id])
                if not is_over:
                    ends.end_attempt(db, row.id, row.attempt, ends.succeeded(None))
                    db.commit()
            admission.bodies_ended([(row.id, row.attempt)])


def _end_from_outside(db: Session, task_id: UUID, chance: random.Random) -> None:
    task_service.update_task_status(db, task_id, "revoked")
    if chance.random() < 0.5:
        task_service.retry_task(db, task_id)
    elif chance.random() < 0.5:
        task_service.delete_task(db, task_id)
    time.sleep(chance.uniform(0, 0.02))


def end_outside(db: Session, task_id: UUID, how: str) -> None:
    """Have a running task be stopped, and then deleted or retried; its body runs on."""
    assert how in {"stopped", "deleted", "retried"}
    task_service.update_task_status(db, task_id, "revoked")
    if how == "deleted":
        task_service.delete(db, task_id)
    if how == "retried":
        task_service.retry_task(db, task_id)


def keep_from_beginning(db: Session, task_id: UUID, how: str) -> None:
    """Have a task that has a place be cancelled, deleted, postponed, expired, or paused in `high_priority`."""
    if how == "cancelled":
        task_service.cancel(db, task_id)
    elif how == "deleted":
        task_service.delete(db, task_id, force=True)
    elif how == "postponed":
        task_service.update_task(db, task_id, {"run_at": datetime.now(UTC) + timedelta(hours=1)})
    elif how == "expired":
        db.execute(update(Task).where(Task.id == task_id).values(expires_at=datetime.now(UTC)))
        db.commit()
    else:
        assert how == "paused"
        task_service.pause_queue(db, "high_priority")
