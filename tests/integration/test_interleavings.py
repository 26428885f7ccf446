"""Every pair of guarded statements on one task, on two real connections, each in the midst of the other.

The first stops before one of its statements, or before its commit, while the second is sent. What comes of it has to be
what one of the two serial orders gives, which is found by running them: one winner, one history. A claim or a pass of
maintenance may also have passed the row over; the next one then does what the serial order says.
"""

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, text

from app.core.ids import new_id
from app.core.served_tasks import ServedTasks
from app.db.session import SessionLocal
from app.db.sql import turns
from app.db.statements.pending_rows import TaskNames
from app.maintenance.passes import deletions, task_states
from app.models import Task, WorkerProcess
from app.services.execution import attempts, ends
from app.services.execution.attempts import NextTry, WorkerIdentity
from app.services.execution.claims import Claims, ReadyClaim, give_back
from app.services.execution.ends import Success, end_successes
from app.services.task_service import task_service
from tests.support.amounts import some_of
from tests.support.interleaving import Operation, Outcome, WatchedTask, control, perform, watching
from tests.support.services import Services, sqlalchemy_url
from tests.support.settings import on_new_database
from tests.support.tasks import ERROR, LONG_RUNNING, WORKER, claim, new_task

pytestmark = [
    pytest.mark.promise,
    pytest.mark.timeout(360),
    pytest.mark.postgresql("the second operation is seen to wait in pg_stat_activity; its lock order is its own"),
]

LINES = [("high_priority", "high"), ("default", "normal")]
ALIVE = WorkerIdentity("alive@test", new_id(), 4712)
# How the task comes into a state, from pending: Python for the service, SQL for what only time does.
STATES: dict[str, list[Any]] = {
    "pending": [],
    "unplaced": ["turn = NULL"],
    "expired": ["expires_at = now() - interval '1 minute'"],
    "running": ["claim"],
    "running_cancelled": ["claim", "cancel"],
    "running_last": ["max_attempts = 1, crashes = 0", "claim", "lose", "claim", "lose", "claim"],
    "failed": ["claim", "fail"],
    "revoked": ["claim", "cancel", "lose"],
    "succeeded": ["claim", "succeed"],
    "unwanted": ["claim", "force delete", "fail"],
}
ALWAYS = ("pending", "unplaced", "expired", "running", "failed", "revoked", "succeeded", "unwanted")


def succeed_among_others(db: Any, task_id: UUID, attempt: int, result: str) -> bool:
    """As the worker's parent writes what its children have left to it."""
    return task_id in end_successes(db, [Success(task_id, attempt, result), Success(new_id(), 1, None)])


def claim_as(db: Any, worker: WorkerIdentity) -> int:
    """The attempt of the next row, 0 without one."""
    taken = Claims(LINES).next(db, TaskNames([LONG_RUNNING], []), new_id(), worker)
    return taken[0].attempt if taken else 0


PLACE = Operation("place", turns.place_due, skips_locked=True)


class Operations:
    """What may be done to the task, by name; attempts speak of the one that runs in that state."""

    def __init__(self, task: Task) -> None:
        self.task, self.attempt = task.id, 1
        self.claimed = ReadyClaim(**{column.name: getattr(task, column.name) for column in fields(ReadyClaim)})

    def all(self) -> list[Operation]:
        return [*self._workers(), *self._parents(), *self._clients(), *self._maintenance()]

    def named(self, name: str) -> Operation:
        return next(operation for operation in self.all() if operation.name == name)

    def _fenced(self, name: str, function: Any, *arguments: Any) -> Operation:
        return Operation(name, lambda db: function(db, self.task, self.attempt, *arguments), by_worker=True)

    def start_over(self) -> Operation:
        """Its attempt gives it back, and a living worker starts the next one."""

        def retry_and_claim(db: Any) -> int | None:
            if not ends.end_attempt(db, self.task, self.attempt, ends.retried(ERROR, NextTry(0))):
                return None
            turns.place(db, [self.task])
            return claim_as(db, ALIVE)

        return Operation("start over", retry_and_claim, by_worker=True)

    def _give_back(self, db: Any) -> None:
        give_back(db, [replace(self.claimed, attempt=self.attempt)])

    def _workers(self) -> list[Operation]:
        return [
            Operation("claim", lambda db: claim_as(db, WORKER), by_worker=True, skips_locked=True),
            Operation("give back", self._give_back, by_worker=True),
            self._fenced("progress", attempts.report_progress, 50, None),
            self._fenced("succeed", ends.end_attempt, ends.succeeded("mine")),
            self._fenced("succeed among others", succeed_among_others, '"mine"'),
            self._fenced("fail", ends.end_attempt, ends.failed(ERROR)),
            self._fenced("retry later", ends.end_attempt, ends.retried(ERROR, NextTry(0))),
            self._fenced("revoke", ends.end_attempt, ends.stopped("ignored")),
            self._fenced("hand back", ends.end_attempt, ends.handed_back("why")),
        ]

    def _parents(self) -> list[Operation]:
        child = (Task.id == self.task, Task.worker_id == WORKER.id, Task.worker_pid == WORKER.pid)
        return [
            Operation("lose", lambda db: ends.end_tasks(db, ends.lost("a test"), *child)),
            Operation("overrun", lambda db: ends.end_tasks(db, ends.overran(1.0), *child)),
            Operation("hand a dead child's back", lambda db: ends.end_tasks(db, ends.handed_back("why"), *child)),
        ]

    def _clients(self) -> list[Operation]:
        def end(to: str) -> Operation:
            return Operation(
                f"{to} from outside",
                lambda db: (
                    task_service.update_task_status(db, self.task, to, result="theirs" if to == "succeeded" else None)
                    and to
                ),
            )

        return [
            Operation("cancel", lambda db: task_service.cancel_task(db, self.task)),
            Operation("retry", lambda db: task_service.retry_task(db, self.task) and "accepted"),
            Operation("delete", lambda db: task_service.delete(db, self.task)),
            Operation("force delete", lambda db: task_service.delete(db, self.task, force=True)),
            Operation("patch", lambda db: task_service.update_task(db, self.task, {"priority": "high"}) and "changed"),
            *map(end, ("succeeded", "failed", "revoked")),
        ]

    def _maintenance(self) -> list[Operation]:
        return [
            PLACE,
            Operation("expire", task_states.revoke_expired, skips_locked=True),
            Operation("delete the unwanted", deletions.delete_requested, skips_locked=True),
            Operation("rescue", lambda db: task_states.end_lost_attempts(db, silent_for=None), skips_locked=True),
        ]


@pytest.fixture(scope="module")
def watched(services: Services) -> Iterator[tuple[WatchedTask, Operations]]:
    with (
        pytest.MonkeyPatch.context() as patched,
        on_new_database(services) as name,
        control(sqlalchemy_url(services.database_url(name))) as looking,
        SessionLocal() as db,
    ):
        patched.setattr("app.messaging.wakeups.publish", lambda queues: None)
        patched.setattr(ServedTasks, "is_due", lambda _: False)  # each second: a statement more in whatever asks then
        task = new_task(db, max_attempts=2, retry_backoff_seconds=3000)
        # Due; and the worker has said goodbye, so that the rescue pass takes what it held.
        db.execute(text("UPDATE tasks SET due_at = now() - interval '1 hour'"))
        db.add(WorkerProcess(id=WORKER.id, name=WORKER.name, pid=1, queues=[], concurrency=1, stopped_at=func.now()))
        db.add(WorkerProcess(id=ALIVE.id, name=ALIVE.name, pid=2, queues=[], concurrency=1))
        db.commit()
        operations = Operations(task_service.get_task(db, task.id))
        db.commit()
        watched = WatchedTask(task.id, looking, task.celery_id)
        watched.save("new")
        for state, way in STATES.items():
            _lead(watched, operations, way)
            watched.save(state)
        with watching(watched):
            yield watched, operations


def _lead(watched: WatchedTask, operations: Operations, way: list[str]) -> None:
    watched.restore("new")
    with SessionLocal() as db:
        for step in way:
            if "=" in step:
                db.execute(text(f"UPDATE tasks SET {step}"))
            elif step == "claim":
                claim(db, task_service.get_task(db, operations.task))
            else:
                operations.named(step).call(db)
            db.commit()


def works(watched: WatchedTask, state: str, operation: Operation) -> bool:
    """Whether it does anything to a task in this state."""
    watched.restore(state)
    before = watched.row()
    after = watched.serial(state, operation)
    return (after.row, after.past) != before


def possible(watched: WatchedTask, state: str, first: Operation, second: Operation) -> list[Outcome]:
    forth = watched.serial(state, first, second)
    back = watched.serial(state, second, first)
    return [forth, Outcome((back.answers[1], back.answers[0]), back.row, back.past)]


def is_made_up_for(watched: WatchedTask, state: str, first: Operation, second: Operation, outcome: Outcome) -> bool:
    """Whether the second passed the row over, and comes to the serial outcome at its next turn."""
    alone = watched.serial(state, first) if second.skips_locked else None
    if alone is None or outcome != Outcome((alone.answers[0], 0), alone.row, alone.past):
        return False
    forth = watched.serial(state, first, second)
    watched.restore(state)
    perform(first)
    return Outcome((outcome.answers[0], perform(second)), *watched.row()) == forth


def placed_at_last(watched: WatchedTask, outcome: Outcome) -> Outcome:
    """What a pass of maintenance makes of it: it gives a turn to a task that was locked as it was to get one."""
    if outcome.row is not None and outcome.row["status"] == "pending" and not outcome.row["turn"]:
        perform(PLACE)
        return Outcome(outcome.answers, *watched.row())
    return outcome


def check(watched: WatchedTask, state: str, first: Operation, second: Operation) -> list[str]:
    """Where the pair came to what no serial order gives; empty when it never did."""
    wrong = []
    allowed = possible(watched, state, first, second)
    for autocommit in (False, True) if first.by_worker else (False,):
        for moment in watched.moments(state, first, autocommit=autocommit):
            outcome = watched.interleaved(state, first, second, moment, autocommit=autocommit)
            if outcome not in allowed:
                outcome = placed_at_last(watched, outcome)
            if outcome not in allowed and not is_made_up_for(watched, state, first, second, outcome):
                at = "the commit" if moment is None else f"statement {moment}"
                wrong.append(f"{state}: {second.name} before {at} of {first.name}: {outcome}, not one of {allowed}")
    return wrong


def check_state(watched: WatchedTask, operations: Operations, state: str) -> None:
    operations.attempt = 3 if state == "running_last" else 1
    watched.restore(state)
    able = [operation for operation in operations.all() if works(watched, state, operation)]
    assert able
    wrong = [line for first, second in some_of(able, able, 29) for line in check(watched, state, first, second)]
    assert not wrong, "\n".join(wrong)


class TestTwoAtOnce:
    @pytest.mark.timeout(600)
    @pytest.mark.parametrize(
        "state", [*ALWAYS, *(pytest.param(s, marks=pytest.mark.full) for s in STATES if s not in ALWAYS)]
    )
    def test_come_to_what_one_after_the_other_comes_to(
        self, watched: tuple[WatchedTask, Operations], state: str
    ) -> None:
        check_state(*watched, state)

    @pytest.mark.parametrize("first", ["rescue", "lose", "overrun", "hand a dead child's back"])
    def test_whoever_speaks_for_a_dead_attempt_never_ends_the_next_one(
        self, watched: tuple[WatchedTask, Operations], first: str
    ) -> None:
        """Not even where that one began after it had read which task to end."""
        running, operations = watched
        operations.attempt = 1
        assert check(running, "running", operations.named(first), operations.start_over()) == []
