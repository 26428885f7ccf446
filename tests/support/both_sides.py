"""The service on a real database and the model of it, side by side; `compare` says where they differ.

Each instance is one transaction that `close` rolls back: commits are savepoints, and the clock goes on within it.
"""

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import Float, literal, select, update

from app.core.ids import new_id
from app.db.session import SessionLocal, engine
from app.ddl.clock import seconds as seconds_of
from app.ddl.columns import Base
from app.models import Task, TaskAttempt, WorkerProcess
from app.services.execution.attempts import CurrentAttempt, WorkerIdentity, current_attempt
from app.services.execution.claims import ReadyClaim
from tests.support.lawful import unlawful
from tests.support.model import ModelTask
from tests.support.model_maintenance import ModelWorker
from tests.support.model_row import Clock
from tests.support.tasks import REFUSALS, new_user

# Real time goes by as well while an example runs: nothing may hang on so little.
LEEWAY = 100.0
MOMENTS = ("run_at", "expires_at", "due_at")
COMPARED = (
    "status", "attempt", "generation", "failures", "crashes", "version", "progress", "result", "status_reason",
    "error_type", "claim_id", "worker", "priority", "queue", "max_attempts",
)  # fmt: skip
ASKED = ("cancel_requested", "delete_requested")
COLUMNS = Task.__table__.columns


@dataclass(frozen=True)
class Attempt:
    """What a worker knows of an attempt that it started, whatever has become of it since."""

    claim: ReadyClaim
    worker: WorkerIdentity

    @property
    def task(self) -> UUID:
        return self.claim.id

    @property
    def number(self) -> int:
        return self.claim.attempt


def answer(action: Callable[[], Any]) -> Any:
    """What it answers; an error by its class's name."""
    try:
        return action()
    except REFUSALS as error:
        return type(error).__name__


class BothSides:
    # The queues in which slots were to be woken; filled by what replaces the publisher.
    published: ClassVar[list[str]] = []

    def __init__(self) -> None:
        self.clock = Clock()
        self.model: dict[UUID, ModelTask] = {}
        self.workers: dict[str, ModelWorker] = {}
        self.identities = [WorkerIdentity(name, new_id(), 0) for name in ("one@host", "two@host")]
        self.pids = itertools.count(100)
        self.paused: set[str] = set()
        # Of a resumed queue.
        self.woken: list[str] = []
        self.started: list[Attempt] = []
        # Claims whose reply was lost.
        self.unanswered: list[tuple[UUID, WorkerIdentity]] = []
        self.rows: dict[UUID, dict[str, Any]] = {}
        self.published.clear()
        self.connection = engine().connect()
        self.outer = self.connection.begin()
        self.db = SessionLocal(bind=self.connection, join_transaction_mode="create_savepoint")
        self.user = new_user(self.db)

    def close(self) -> None:
        self.db.close()
        self.outer.rollback()
        self.connection.close()

    # Acting

    def at(self, moment: float | None) -> datetime | None:
        """A moment of the model in real time."""
        return None if moment is None else datetime.now(UTC) + timedelta(seconds=moment - self.clock.now)

    def commit(self, action: Callable[[], Any]) -> Any:
        """A worker's call: a transaction of its own."""
        got = answer(action)
        self.db.commit()
        return got

    def speak(self, attempt: Attempt, action: Callable[[], Any]) -> Any:
        """A body's call of the service, in the context of its attempt."""
        token = current_attempt.set(CurrentAttempt(attempt.task, attempt.number))
        try:
            return answer(action)
        finally:
            current_attempt.reset(token)

    def live(self) -> list[ModelTask]:
        return [task for task in self.model.values() if not task.gone]

    def pass_time(self, seconds: float) -> None:
        """Let so much time go by, and a little more where a decision would otherwise hang on the moment."""
        moments = [getattr(task, name) for task in self.live() for name in MOMENTS]
        while any(m is not None and abs(m - self.clock.now - seconds) < LEEWAY for m in moments):
            seconds += 2 * LEEWAY
        self.clock.now += seconds
        self._move_back("tasks", [*MOMENTS, "started_at"], seconds)
        self._move_back("worker_processes", ["heartbeat_at"], seconds)

    def _move_back(self, name: str, columns: list[str], by: float) -> None:
        table = Base.metadata.tables[name]
        self.db.execute(
            update(table).values({each: table.c[each] - seconds_of(literal(by, Float)) for each in columns})
        )
        self.db.commit()

    # Comparing

    def compare(self) -> None:
        """Every row, its past and the queues that were named to wake slots are the model's; every change was lawful."""
        real = {row["id"]: dict(row) for row in self.connection.execute(select(*COLUMNS)).mappings()}
        assert set(real) == {task_id for task_id, task in self.model.items() if not task.gone}
        pasts = self._pasts()
        for task_id, row in real.items():
            model = self.model[task_id]
            asked = {name: row[f"{name}_at"] is not None for name in ASKED}
            seen = {name: row[name] for name in COMPARED} | asked
            assert seen == {name: getattr(model, name) for name in seen}, f"task {task_id}"
            self._compare_moments(row, model)
            assert (row["turn"] is not None) == model.placed
            assert pasts.get(task_id, []) == model.past
            assert [number for number, _ in model.history()] == list(range(1, model.attempt + 1))
            assert unlawful(self.rows.get(task_id, row), row) == []
        self._compare_wakeups()
        self.rows = real
        workers = self.connection.execute(select(WorkerProcess.name)).scalars()
        assert set(workers) == set(self.workers)

    def _pasts(self) -> dict[UUID, list[tuple[int, str]]]:
        pasts: dict[UUID, list[tuple[int, str]]] = {}
        columns = (TaskAttempt.task_id, TaskAttempt.number, TaskAttempt.outcome)
        for task_id, number, outcome in self.connection.execute(select(*columns).order_by(TaskAttempt.number)):
            pasts.setdefault(task_id, []).append((number, str(outcome)))
        return pasts

    def _compare_moments(self, row: dict[str, Any], model: ModelTask) -> None:
        now = datetime.now(UTC)
        for name in MOMENTS:
            real, said = row[name], getattr(model, name)
            assert (real is None) == (said is None), name
            if said is not None:
                assert abs((real - now).total_seconds() - (said - self.clock.now)) < LEEWAY, name

    def _compare_wakeups(self) -> None:
        said = self.woken + [queue for task in self.model.values() for queue in task.woken]
        assert Counter(self.published) == Counter(said)
        for queues in (self.published, self.woken, *(task.woken for task in self.model.values())):
            queues.clear()
