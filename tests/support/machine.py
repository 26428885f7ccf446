"""Everything that clients, slots and attempts may do to tasks, as steps of a Hypothesis state machine.

Slots are woken at will, and attempts go on speaking after they were lost. There is one rule, whose first argument names
the step: with a rule a step, Hypothesis would leave half of them out of each sequence, and hardly any sequence would
reach a third loss.
"""

import itertools
from collections.abc import Callable, Iterable
from typing import Any, TypeVar
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, run_state_machine_as_test
from sqlalchemy import select, text

from app.core.ids import new_id
from app.db.statements.pending_rows import MOST_ROWS, TaskNames
from app.maintenance.passes import task_states
from app.messaging.wakeups import MANY
from app.models import Task
from app.services.execution import attempts, ends
from app.services.execution.attempts import AttemptError, NextTry
from app.services.execution.claims import Claims, give_back
from app.services.operations import queue_service
from app.services.task_service import task_service
from tests.support.both_sides import Attempt, BothSides, answer
from tests.support.databases import ENGINE
from tests.support.model import ModelTask
from tests.support.model_row import PRIORITIES, QUEUES
from tests.support.tasks import LONG_RUNNING

T = TypeVar("T")
ONCE_ONLY = "tests.once_only"
STATUSES = ("revoked", "succeeded", "failed", "pending", "running")
ERROR = AttemptError("ValueError", "no", "Traceback: no")
BACKOFF = 700.0
MOST_TASKS = 3
# The transaction of an example does not end with a pass of maintenance, which sets the timeout.
KEEP_WAITING = text("SET LOCAL lock_timeout = 0" if ENGINE == "postgresql" else "SELECT 1")
# A pick below this is one that fits, where there is one: most steps are to change something.
FITTING = 5
# The queues in the order of service, and the priorities of each in theirs.
SERVED = ["high_priority", "default", "low_priority"]
LINES_OF = {queue: [name for name in reversed(PRIORITIES) if QUEUES[name] == queue] for queue in SERVED}


class NothingFits(Exception):
    """This step has nothing to do now; another one has."""


def choose(pick: int, items: Iterable[T], fits: Callable[[T], bool]) -> T:
    """The latest that fits for 0, an earlier one for more; for a high pick any, fitting or not."""
    latest = [*items][::-1]
    wanted = [item for item in latest if fits(item)] if pick < FITTING else latest
    if not wanted:
        raise NothingFits
    return wanted[pick % len(wanted)]


class Machine(RuleBasedStateMachine):
    """Each step takes two numbers: which of the things that are there, and which way of doing it."""

    def __init__(self) -> None:
        super().__init__()
        self.both = BothSides()
        self.db, self.model, self.clock = self.both.db, self.both.model, self.both.clock

    def teardown(self) -> None:
        self.both.close()

    @invariant()
    def every_row_says_what_the_model_says(self) -> None:
        self.both.compare()

    def task_in(self, pick: int, *statuses: str) -> tuple[UUID, ModelTask]:
        return choose(pick, self.model.items(), lambda item: not item[1].gone and item[1].status in statuses)

    def attempt(self, pick: int) -> Attempt:
        """The latest that runs, or one that speaks though it was lost."""
        return choose(pick, self.both.started, lambda mine: self.model[mine.task].holds(mine.number))

    # Clients

    @initialize()
    def first_task(self) -> None:
        self.accept("normal", 2, None, None, rerun_lost=True)

    def create(self, pick: int, way: int) -> None:
        if len(self.model) == MOST_TASKS:
            raise NothingFits
        starts = (None, None, -1800.0, 3000.0)[pick % 4]
        expires = (None, -1000.0, 5000.0, 90_000.0)[way % 4]
        self.accept(PRIORITIES[way % 4], 1 + pick % 3, starts, expires, rerun_lost=way % 3 > 0)

    def accept(
        self, priority: str, max_attempts: int, starts: float | None, expires: float | None, *, rerun_lost: bool
    ) -> None:
        run_at = None if starts is None else self.clock.now + starts
        expires_at = None if expires is None or (starts and starts >= expires) else self.clock.now + expires
        name = LONG_RUNNING if rerun_lost else ONCE_ONLY
        task, _ = task_service.create_task(
            self.db, name="a task", task_type="test", args=[1], priority=priority, max_attempts=max_attempts,
            celery_task_name=name, retry_backoff_seconds=BACKOFF,
            run_at=self.both.at(run_at), expires_at=self.both.at(expires_at), user_id=self.both.user,
        )  # fmt: skip
        model = ModelTask(self.clock, name, priority, max_attempts, rerun_lost, BACKOFF, run_at, expires_at)
        self.model[task.id] = model

    def cancel(self, pick: int, way: int) -> None:
        task, model = self.task_in(pick, "running", *(["pending"] if way > 1 else []))
        assert answer(lambda: task_service.cancel_task(self.db, task)) == model.cancel()

    def retry(self, pick: int, way: int) -> None:
        del way
        task, model = self.task_in(pick, "failed", "revoked")
        assert answer(lambda: task_service.retry_task(self.db, task).status) == model.retry()

    def delete(self, pick: int, way: int) -> None:
        force = way % 3 > 0
        task, model = self.task_in(pick, "running" if force else "succeeded")
        assert answer(lambda: task_service.delete(self.db, task, force=force)) == model.delete(force=force)

    def patch_priority(self, pick: int, way: int) -> None:
        task, model = self.task_in(pick, "pending")
        priority = PRIORITIES[way % 4]
        got = answer(lambda: task_service.update_task(self.db, task, {"priority": priority}).status)
        assert got == model.edit(priority, model.run_at)

    def patch_start(self, pick: int, way: int) -> None:
        task, model = self.task_in(pick, "pending")
        start = (None, -100.0, 2000.0)[way % 3]
        run_at = None if start is None else self.clock.now + start
        got = answer(lambda: task_service.update_task(self.db, task, {"run_at": self.both.at(run_at)}).status)
        assert got == model.edit(model.priority, run_at)

    def run_now(self, pick: int, way: int) -> None:
        del way
        task, model = self.task_in(pick, "pending")
        assert answer(lambda: task_service.run_now(self.db, task).status) == model.run_now()

    def set_status_from_outside(self, pick: int, way: int) -> None:
        task, model = self.task_in(pick, "running")
        to = STATUSES[way % 5]
        given = "outside" if to == "succeeded" else None
        got = answer(lambda: task_service.update_task_status(self.db, task, to, result=given).status)
        assert got == model.set_status(to)

    # Slots: woken at any time

    def take_rows(self, pick: int, way: int) -> None:
        """A slot claims the next rows, of all queues or of one. Who is next is read from the turns."""
        served = SERVED if pick <= FITTING else SERVED[way % 3 :][:1]
        known = [LONG_RUNNING] if way == FITTING else [LONG_RUNNING, ONCE_ONLY]
        short = known if pick % 3 else []
        expected = self._next_of(served, known, short)
        if not expected and pick < FITTING:
            raise NothingFits
        mine, who = new_id(), self.both.identities[way % 2]._replace(pid=next(self.both.pids))
        taker = Claims([(queue, priority) for queue in served for priority in LINES_OF[queue]])
        found = self.both.commit(lambda: taker.next(self.db, TaskNames(known, short), mine, who))
        assert [claim.id for claim in found] in (
            expected,
            expected[:1],
        )  # all that may share a claim, or the first alone
        for claim in found:
            assert claim.turn == self.both.rows[claim.id]["turn"]
            assert claim.attempt == self.model[claim.id].claim(mine, who.name, who.pid)
        if not found or way > FITTING:  # the reply was lost
            self.both.unanswered.append((mine, who))
        else:
            self.both.started += [Attempt(claim, who) for claim in found]

    def _next_of(self, served: list[str], known: list[str], short: list[str]) -> list[UUID]:
        """The first task that may start, and those behind it as long as all may share its claim."""

        def place(task_id: UUID) -> tuple[int, int, float, UUID]:
            model = self.model[task_id]
            line = served.index(model.queue), -PRIORITIES.index(model.priority)
            return *line, self.both.rows[task_id]["turn"], task_id

        def shares(task_id: UUID) -> bool:
            return self.model[task_id].name in short and self.model[task_id].may_share_a_claim()

        open_queues = {*served} - self.both.paused
        ready = [
            task_id
            for task_id, model in self.model.items()
            if model.may_start() and model.queue in open_queues and model.name in known
        ]
        ready = sorted(ready, key=place)[:MOST_ROWS]
        return [*itertools.takewhile(shares, ready)] or ready[:1]

    def ask_what_became_of_the_claim(self, pick: int, way: int) -> None:
        del pick, way
        mine, who = choose(0, self.both.unanswered, lambda _: True)
        self.both.unanswered.remove((mine, who))
        found = self.both.commit(lambda: Claims([]).find(self.db, mine, who))
        said = {(task_id, model.attempt) for task_id, model in self.model.items() if model.claim_id == mine}
        assert {(claim.id, claim.attempt) for claim in found} == said
        self.both.started += [Attempt(claim, who) for claim in found]

    def give_back(self, pick: int, way: int) -> None:
        """What was claimed and not begun; also one that was lost since."""
        del way
        attempt = self.attempt(pick)
        held = self.model[attempt.task].holds(attempt.number)
        self.both.commit(lambda: give_back(self.db, [attempt.claim]))
        self.model[attempt.task].give_back(attempt.number)
        if held and self.model[attempt.task].placed:
            turn = select(Task.turn).where(Task.id == attempt.task)
            assert self.db.scalar(turn) == (attempt.claim.turn or 0.0)

    def wake_pass(self, pick: int, way: int) -> None:
        """Maintenance gives turns to what has become due, and wakes slots where a task is ready."""
        del way
        unplaced = [model for model in self.model.values() if model.unplaced()]
        if not unplaced and pick < FITTING:
            raise NothingFits
        task_states.give_turns(self.db)
        self.db.execute(KEEP_WAITING)
        for model in unplaced:
            model.place()
        ready = {model.queue for model in self.model.values() if model.waits_for_a_slot()}
        assert {*task_states.ready_queues(self.db)} == ready - self.both.paused

    def pause_or_resume(self, pick: int, way: int) -> None:
        del pick
        queue = SERVED[way % 3]
        if queue in self.both.paused:
            queue_service.resume_queue(self.db, queue)
            self.both.woken += [queue] * MANY
        else:
            queue_service.pause_queue(self.db, queue)
        self.db.commit()
        self.both.paused ^= {queue}

    # Attempts, those that were lost included

    def speak(self, pick: int, way: int) -> None:
        """A worker reports on its attempt, or ends it."""
        attempt = self.attempt(pick)
        model, mine = self.model[attempt.task], attempt.number
        fence = (self.db, attempt.task, mine)
        says: list[tuple[Callable[[], Any], Callable[[], Any]]] = [
            (lambda: attempts.report_progress(*fence, 7 * pick, None), lambda: model.report(mine, 7 * pick)),
            (lambda: attempts.is_cancelled(*fence), lambda: model.hear(mine)),
            (lambda: ends.end_attempt(*fence, ends.succeeded(mine)), lambda: model.succeed(mine, mine)),
            (lambda: ends.end_attempt(*fence, ends.failed(ERROR)), lambda: model.fail(mine, "ValueError")),
            (lambda: ends.end_attempt(*fence, ends.stopped("ignored")), lambda: model.revoke(mine, "ignored")),
            (lambda: ends.end_attempt(*fence, ends.handed_back("why")), lambda: model.hand_back(mine)),
            *(
                (
                    lambda delay=delay: ends.end_attempt(*fence, ends.retried(ERROR, NextTry(delay))),
                    lambda delay=delay: model.retry_later(mine, "ValueError", delay),
                )
                for delay in (0.0, 1000.0)
            ),
        ]
        real, said = says[way]
        assert self.both.commit(real) == said()

    def body_speaks_of_itself(self, pick: int, way: int) -> None:
        attempt, to = self.attempt(pick), STATUSES[way % 5]
        own = "own" if to in ("running", "succeeded") else None

        def end() -> str:
            return task_service.update_task_status(self.db, attempt.task, to, 40, own, error="e").status

        assert self.both.speak(attempt, end) == self.model[attempt.task].say(attempt.number, to)

    def parent_speaks_for_a_dead_child(self, pick: int, way: int) -> None:
        attempt = self.attempt(pick)
        model, who = self.model[attempt.task], attempt.worker
        child = (Task.id == attempt.task, Task.worker_id == who.id, Task.worker_pid == who.pid)
        real, said = [
            (lambda: ends.end_tasks(self.db, ends.lost("a test"), *child), model.lose),
            (lambda: ends.end_tasks(self.db, ends.overran(1.0), *child), model.overrun),
            (
                lambda: ends.end_tasks(self.db, ends.handed_back("why"), *child),
                lambda: int(model.hand_back(model.attempt)),
            ),
        ][max(0, way - 5)]
        assert self.both.commit(real) == (said() if not model.gone and model.pid == who.pid else 0)


def run_machine(machine: type[RuleBasedStateMachine], examples: int, steps: int, *, derandomize: bool) -> None:
    """Run so many sequences of so many steps; with `derandomize` the same ones each time."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=derandomize,
            database=None,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
