"""Everything that clients, messages and attempts may do to tasks, as steps of a Hypothesis state machine.

Messages are kept and delivered again at will, and attempts go on speaking after they were lost. There is one rule, whose
first argument names the step: with a rule a step, Hypothesis would leave half of them out of each sequence, and hardly
any sequence would reach a third loss or a retry's second message.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar
from uuid import UUID

from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant

from app.core.ids import new_id
from app.messaging.due import mark_dispatched, take_due
from app.models import Task
from app.services.execution import attempts, rescue
from app.services.execution.attempts import AttemptError, NextTry, Ticket
from app.services.task_service import task_service
from tests.support.both_sides import Attempt, BothSides, Message, answer
from tests.support.model import ModelTask
from tests.support.model_row import GRACE, PRIORITIES
from tests.support.tasks import LONG_RUNNING

T = TypeVar("T")
ONCE_ONLY = "tests.once_only"
STATUSES = ("revoked", "succeeded", "failed", "pending", "running")
ERROR = AttemptError("ValueError", "no", "Traceback: no")
BACKOFF = 700.0
MOST_TASKS = 3
# A pick below this is one that fits, where there is one: most steps are to change something.
FITTING = 5


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
        task, _ = task_service.create_task(
            self.db, name="a task", task_type="test", args=[1], priority=priority, max_attempts=max_attempts,
            celery_task_name=LONG_RUNNING if rerun_lost else ONCE_ONLY, retry_backoff_seconds=BACKOFF,
            run_at=self.both.at(run_at), expires_at=self.both.at(expires_at), user_id=self.both.user,
        )  # fmt: skip
        model = ModelTask(self.clock, priority, max_attempts, rerun_lost, BACKOFF, run_at, expires_at)
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

    def set_status_from_outside(self, pick: int, way: int) -> None:
        task, model = self.task_in(pick, "running")
        to = STATUSES[way % 5]
        given = "outside" if to == "succeeded" else None
        got = answer(lambda: task_service.update_task_status(self.db, task, to, result=given).status)
        assert got == model.set_status(to)

    # Messages: sent, lost, doubled, late

    def take_due(self, pick: int, way: int) -> None:
        del way
        limit = 1 if pick == 0 else 500
        due = {task_id: task.dispatch_at or 0 for task_id, task in self.model.items() if task.due()}
        if not due and pick < FITTING:
            raise NothingFits
        taken = take_due(self.db, GRACE, limit)
        ids = {dispatch.id for dispatch in taken}
        assert (len(ids), ids - due.keys()) == (min(limit, len(due)), set())
        # The oldest first.
        assert all(due[left] >= max(due[mine] for mine in ids) for left in due.keys() - ids if ids)
        for task_id in ids:
            self.model[task_id].take()
        self.both.published.extend(taken)

    def mark_as_sent(self, pick: int, way: int) -> None:
        """However late: by then the row may have another window."""
        del way
        message = choose(pick, self.both.sent, lambda _: True)
        mark_dispatched(self.db, [message.dispatch])
        self.model[message.dispatch.id].mark(message.window)

    def lose_a_message(self, pick: int, way: int) -> None:
        del way
        self.both.sent.remove(choose(pick, self.both.sent, lambda _: True))

    def _can_start(self, message: Message) -> bool:
        model = self.model[message.dispatch.id]
        fits = model.status == "pending" and model.generation == message.dispatch.generation
        return fits and not (model.waits() or model.expired() or model.gone)

    def deliver(self, pick: int, way: int) -> None:
        """The message stays: it may come again, as often as it likes."""
        message = choose(pick, self.both.sent, self._can_start)
        dispatch, mine = message.dispatch, new_id()
        who = self.both.identities[way % 2]._replace(pid=next(self.both.pids))
        ticket = Ticket(dispatch.id, dispatch.generation, dispatch.celery_task_name)
        claimed = self.both.commit(lambda: attempts.claim(self.db, ticket, mine, who))
        number = self.model[dispatch.id].claim(dispatch.generation, mine, who.name, who.pid)
        assert (claimed.attempt if claimed else None) == number
        if number is not None:
            reply_was_lost = way > FITTING
            known = self.both.unanswered if reply_was_lost else self.both.started
            known.append(Attempt(dispatch.id, number, mine, who))

    def ask_what_became_of_the_claim(self, pick: int, way: int) -> None:
        del pick, way
        attempt = choose(0, self.both.unanswered, lambda _: True)
        self.both.unanswered.remove(attempt)
        found = self.both.commit(lambda: attempts.find_claim(self.db, attempt.task, attempt.claim_id))
        assert (found.attempt if found else None) == self.model[attempt.task].find_claim(attempt.claim_id)
        if found:
            self.both.started.append(attempt)

    # Attempts, those that were lost included

    def speak(self, pick: int, way: int) -> None:
        """A worker reports on its attempt, or ends it."""
        attempt = self.attempt(pick)
        model, mine = self.model[attempt.task], attempt.number
        fence = (self.db, attempt.task, mine)
        says: list[tuple[Callable[[], Any], Callable[[], Any]]] = [
            (lambda: attempts.report_progress(*fence, 7 * pick, None), lambda: model.report(mine, 7 * pick)),
            (lambda: attempts.is_cancelled(*fence), lambda: model.hear(mine)),
            (lambda: attempts.succeed(*fence, mine), lambda: model.succeed(mine, mine)),
            (lambda: attempts.fail(*fence, ERROR), lambda: model.fail(mine, "ValueError")),
            (lambda: attempts.revoke(*fence, "ignored"), lambda: model.revoke(mine, "ignored")),
            (lambda: attempts.hand_back(*fence, "why"), lambda: model.hand_back(mine)),
            *(
                (
                    lambda delay=delay: attempts.retry_later(*fence, ERROR, NextTry(delay)),
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
            (lambda: rescue.lost(self.db, *child), model.lose),
            (lambda: rescue.overran(self.db, 1.0, *child), model.overrun),
            (lambda: rescue.handed_back(self.db, "why", *child), lambda: int(model.hand_back(model.attempt))),
        ][max(0, way - 5)]
        assert self.both.commit(real) == (said() if not model.gone and model.pid == who.pid else 0)
