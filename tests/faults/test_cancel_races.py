"""Row 28: a cancel races the claim and the finish; what was revoked while pending never starts."""

import json
import random
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Connection, update
from sqlalchemy.orm import Session

from app.core.ids import new_id
from app.db.session import SessionLocal, autocommit_engine
from app.db.statements.pending_rows import TaskNames
from app.errors import InvalidTransition
from app.models.task import Task
from app.schemas.task import TaskCreate
from app.services.execution import attempts, ends
from app.services.execution.claims import Claims
from app.services.task_service import task_service
from tests.support.amounts import amount
from tests.support.databases import ENGINE
from tests.support.faults.invariants import Witness
from tests.support.faults.scene import Scene
from tests.support.ledger import append_line
from tests.support.settings import settings
from tests.support.stack import Stack
from tests.support.tasks import ERROR, LONG_RUNNING, WORKER, new_user

RACES, ALONE = amount(day=200, night=1000 if ENGINE == "postgresql" else 300), 15
SEED = 28


class Race:
    """One client that cancels and one worker that claims, runs and ends, let loose on the same task at once."""

    def __init__(self, tasks: list[Task], ledger: Path) -> None:
        self._alone, self._tasks, self._ledger = tasks[:ALONE], tasks[ALONE:], ledger
        self._barrier = threading.Barrier(2, timeout=60)
        self._head_start = 0.0

    def run(self) -> list[tuple[str, str]]:
        """For each task what the client was answered, and what the worker came to."""
        # Neither side has a longer one: each is first about as often as the other, and in between where it is short.
        self._head_start = 3 * self._seconds_alone()
        with ThreadPoolExecutor(2) as pool:
            client, worker = pool.submit(self._client), pool.submit(self._worker)
            return list(zip(client.result(), worker.result(), strict=True))

    def _seconds_alone(self) -> float:
        """How long a worker takes for a task that nobody cancels."""
        with autocommit_engine().connect() as db:
            return statistics.median(self._timed(db, task) for task in self._alone)

    def _timed(self, db: Connection, task: Task) -> float:
        begun = time.perf_counter()
        assert self._work(db, task, how=1) == "ran"
        return time.perf_counter() - begun

    def _runners(self, seed: int) -> Iterator[Task]:
        """Task by task, both sides together, but for a moment by which one of them is late."""
        late = random.Random(seed)
        for task in self._tasks:
            self._barrier.wait()
            time.sleep(late.uniform(0, self._head_start))
            yield task

    def _client(self) -> list[str]:
        with SessionLocal() as db:
            return [self._cancel(db, task) for task in self._runners(SEED)]

    def _cancel(self, db: Session, task: Task) -> str:
        try:
            return str(task_service.cancel(db, task.id).status)
        except InvalidTransition:
            return "refused"

    def _worker(self) -> list[str]:
        with autocommit_engine().connect() as db:
            return [self._work(db, task, at % 3) for at, task in enumerate(self._runners(SEED + 1))]

    def _work(self, db: Connection, task: Task, how: int) -> str:
        """Claim and run it; then fail, or look for a cancellation before the end, or do not."""
        line = Claims([(queue_of(task), task.priority.value)])
        claims = line.next(db, TaskNames([task.celery_task_name], []), new_id(), WORKER)
        if not claims:
            return "nothing to claim"
        (claim,) = claims
        fence = (db, task.id, claim.attempt)
        self._note(task, claim.attempt, "start")
        if how == 0:
            ended = ends.end_attempt(*fence, ends.failed(ERROR))
        elif how == 1 and attempts.is_cancelled(*fence):
            ended = ends.end_attempt(*fence, ends.stopped("cancelled"))
        else:
            self._note(task, claim.attempt, "end")
            ended = ends.end_attempt(*fence, ends.succeeded(None))
        return "ran" if ended else "was not let end"

    def _note(self, task: Task, attempt: int, event: str) -> None:
        line = {"task_id": str(task.id), "attempt": attempt, "event": event, "pid": 0, "time": time.time()}
        append_line(self._ledger, json.dumps(line))


def queue_of(task: Task) -> str:
    """A queue of its own: a claim takes the first task of a line."""
    return f"race-{task.id}"


@pytest.mark.every_engine("cancel against finish")
class TestHundredsOfRaces:
    def test_leave_one_legal_history_each(self, stack: Stack, ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        # The worker below needs no wake-ups.
        monkeypatch.setattr("app.messaging.wakeups.publish", lambda queues: None)
        witness = Witness(stack).install()
        wanted = TaskCreate(name="race", task_type="race", celery_task_name=LONG_RUNNING, args=[1])
        with settings(stack.settings):
            with SessionLocal() as db:
                tasks = task_service.create_tasks(db, [wanted] * (ALONE + RACES), new_user(db))
            with SessionLocal.begin() as db:
                db.execute(update(Task), [{"id": task.id, "queue": queue_of(task)} for task in tasks])
            seen = Counter(Race(tasks, ledger).run())
        witness.check([task.id for task in tasks], ledger)
        # Where a worker found nothing, the client was first and was told so; a cancel that had no effect was refused.
        assert {client for client, worker in seen if worker == "nothing to claim"} == {"revoked"}
        assert {client for client, _ in seen} == {"revoked", "running", "refused"}, seen
        assert {worker for _, worker in seen} == {"nothing to claim", "ran"}, seen
        # Every order of the two was met, often.
        revoked_first = sum(times for (_, worker), times in seen.items() if worker == "nothing to claim")
        ended_first = seen["refused", "ran"]
        assert min(revoked_first, ended_first, RACES - revoked_first - ended_first) >= RACES // 50, seen


class TestThroughTheApi:
    def test_a_real_worker_never_starts_what_was_revoked_while_pending(
        self, scene: Callable[..., Scene], gate: Path
    ) -> None:
        running = scene()
        running.stack.worker(concurrency=1)  # a task behind another is cancelled while pending, the first mostly later
        running.until(running.work(), "succeeded")
        late = random.Random(SEED)
        answers: Counter[str] = Counter()

        def cancel(task_id: str) -> None:
            answer = running.post(task_id, "cancel")
            answers[f"{answer.status_code} {answer.json()['status']}"] += 1

        held = running.create("ledger.gate", kwargs={"gate": str(gate)})
        running.started(held)
        cancel(running.work())  # certainly pending: behind the one that is held
        cancel(held)  # certainly running
        for _ in range(60):
            task_id = running.work(seconds=0.03, steps=3)
            time.sleep(late.uniform(0, 0.04))
            cancel(task_id)
        running.check()
        assert set(answers) <= {"200 revoked", "202 running", "409 409"}, answers
        ((while_pending,),) = running.stack.sql(
            "SELECT count(*) FROM witness WHERE old->>'status' = 'pending' AND new->>'status' = 'revoked'"
        )
        assert 1 <= while_pending <= answers["200 revoked"]
        assert answers["202 running"] >= 1
