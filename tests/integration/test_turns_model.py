"""Who runs next: the claims of one slot against a model of start-time fair queueing, and the shares that users get."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import note, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import func, select, update

from app.catalogue import catalogue
from app.core.ids import new_id
from app.db.session import SessionLocal, engine
from app.db.sql import claims as statements
from app.db.statements import pending_rows
from app.maintenance.passes import task_states
from app.models import Task, User
from app.models.queue import ClaimedTurn
from app.schemas.task import TaskCreate
from app.services.execution import claims, ends
from app.services.execution.attempts import NextTry
from app.services.execution.claims import FULL_LOOK_SECONDS, Claims, ReadyClaim, give_back
from app.services.operations import queue_service
from app.services.task_service import task_service
from tests.support.amounts import amount
from tests.support.databases import ENGINE
from tests.support.machine import KEEP_WAITING, NothingFits, choose, run_machine
from tests.support.services import Services, environment
from tests.support.settings import settings
from tests.support.tasks import ERROR, LONG_RUNNING, WORKER, new_user
from tests.support.turns_model import Line, TurnsModel, WaitingTask

pytestmark = pytest.mark.promise

QUEUE_OF = {"critical": "high_priority", "high": "high_priority", "normal": "default", "low": "low_priority"}
# In the order of service.
LINES: list[Line] = [(queue, priority) for priority, queue in QUEUE_OF.items()]
SHORT, LONG = LONG_RUNNING, "tests.long"
NAMES = pending_rows.TaskNames([SHORT, LONG], [SHORT], statements.MOST_AT_ONCE)
PRIORITIES = sorted(QUEUE_OF)
ENDS = ("succeeded", "failed", "again", "later", "lost", "handed back")
STEPS = (
    *("claim",) * 6, *("end",) * 3, *("give_some_back",) * 2, *("submit",) * 3, "submit_many", "submit_many", "weigh",
    "patch_priority", "patch_start", "cancel", "retry", "pause_or_resume", "become_due", *("place_due",) * 3,
)  # fmt: skip
# From one step to the next to try; shares no factor with their number.
STRIDE = 7
# Of the slot: it stands still, but for what a step says.
now: Any = SimpleNamespace(seconds=0.0, monotonic=lambda: now.seconds)


def is_start(found: list[UUID], expected: list[UUID]) -> bool:
    """A claim takes all that may share it, or the first alone."""
    return found in (expected, expected[:1])


class Turns(RuleBasedStateMachine):
    """All in one transaction, which `teardown` rolls back. One slot, so that the next tasks are certain."""

    def __init__(self) -> None:
        super().__init__()
        self.connection = engine().connect()
        self.outer = self.connection.begin()
        self.db = SessionLocal(bind=self.connection, join_transaction_mode="create_savepoint")
        self.users = [new_user(self.db) for _ in range(3)]
        self.model = TurnsModel(LINES, statements.MOST_AT_ONCE)
        # Since when claims have left rows out that came back behind them.
        self.left_out_since: float | None = None
        self.slot = Claims(LINES)
        self.running: list[ReadyClaim] = []

    def teardown(self) -> None:
        self.db.close()
        self.outer.rollback()
        self.connection.close()

    @invariant()
    def every_pending_task_has_the_turn_that_the_model_says(self) -> None:
        pending = select(Task.id, Task.turn).where(Task.status == "pending")
        said = {(task.id, task.turn) for task in self.model.tasks.values() if task.status == "pending"}
        assert {*map(tuple, self.db.execute(pending))} == said
        clocks = select(ClaimedTurn.queue, ClaimedTurn.priority, func.max(ClaimedTurn.turn))
        clocks = clocks.group_by(ClaimedTurn.queue, ClaimedTurn.priority)
        assert {(queue, priority): clock for queue, priority, clock in self.db.execute(clocks)} == {
            line: clock for line, clock in self.model.clocks.items() if clock
        }

    def in_state(self, pick: int, status: str) -> WaitingTask:
        return choose(0, [*self.model.tasks.values()][pick % 3 :: 3], lambda task: task.status == status)

    @rule(what=st.integers(0, len(STEPS) - 1), pick=st.integers(0, 20), way=st.integers(0, 11))
    def step(self, what: int, pick: int, way: int) -> None:
        """This one, or the next one that has something to do."""
        for further in range(len(STEPS)):
            with suppress(NothingFits):
                name = STEPS[(what + STRIDE * further) % len(STEPS)]
                getattr(self, name)(pick, way)
                note(name)
                return

    # Clients

    @initialize()
    def a_backlog(self) -> None:
        for user in self.users:
            self.accept(user, ["normal"] * 20, SHORT, later=False)

    def accept(self, user: UUID, priorities: list[str], name: str, *, later: bool) -> None:
        wanted = [
            TaskCreate(
                name="a task", task_type="test", celery_task_name=name, args=[1], max_attempts=3,
                priority=priority, delay_seconds=3600 if later else None,
            )
            for priority in priorities
        ]  # fmt: skip
        made = task_service.create_tasks(self.db, wanted, user)
        self.model.add(
            WaitingTask(task.id, task.user_id, (task.queue, task.priority), name == SHORT, is_due=not later)
            for task in made
        )

    def submit(self, pick: int, way: int) -> None:
        """Up to eight at once, of any priorities."""
        priorities = [PRIORITIES[(pick + number * way) % 4] for number in range(1 + pick % 8)]
        self.accept(self.users[pick % 3], priorities, LONG if way % 4 == 0 else SHORT, later=way % 3 == 0)

    def submit_many(self, pick: int, way: int) -> None:
        self.accept(self.users[pick % 3], ["normal" if way else "high"] * (10 + pick), SHORT, later=False)

    def weigh(self, pick: int, way: int) -> None:
        user, weight = self.users[pick % 3], 2 ** (way % 4)
        self.db.execute(update(User).where(User.id == user).values(weight=weight))
        self.db.commit()
        self.model.weights[user] = weight

    def patch_priority(self, pick: int, way: int) -> None:
        task, priority = self.in_state(pick, "pending"), PRIORITIES[way % 4]
        task_service.update_task(self.db, task.id, {"priority": priority})
        task.line = (QUEUE_OF[priority], priority)
        self.lines_up(task)

    def patch_start(self, pick: int, way: int) -> None:
        task, later = self.in_state(pick, "pending"), way % 2 == 0
        start = datetime.now(UTC) + timedelta(hours=1) if later else None
        task_service.update_task(self.db, task.id, {"run_at": start})
        task.is_due = not later
        self.lines_up(task)

    def lines_up(self, task: WaitingTask) -> None:
        task.turn = None
        if task.is_due:
            self.model.place([task])

    def cancel(self, pick: int, way: int) -> None:
        del way
        task = self.in_state(pick, "pending")
        task_service.cancel(self.db, task.id)
        task.ends("revoked")

    def retry(self, pick: int, way: int) -> None:
        task = self.in_state(pick, "failed" if way else "revoked")
        task_service.retry_task(self.db, task.id)
        self.model.start_over(task)

    def pause_or_resume(self, pick: int, way: int) -> None:
        """One queue at most is paused: else most claims would take nothing."""
        del way
        queue = next(iter(self.model.paused), sorted({*QUEUE_OF.values()})[pick % 3])
        if queue in self.model.paused:
            queue_service.resume_queue(self.db, queue)
        else:
            queue_service.pause_queue(self.db, queue)
        self.db.commit()
        self.model.paused ^= {queue}

    # Maintenance

    def become_due(self, pick: int, way: int) -> None:
        del pick
        tasks = [task for task in self.model.tasks.values() if task.status == "pending" and not task.is_due]
        if not tasks:
            raise NothingFits
        past = datetime.now(UTC) - timedelta(seconds=1)
        for task in tasks[: 1 + way]:
            self.db.execute(update(Task).where(Task.id == task.id).values(run_at=past, due_at=past))
            task.is_due = True
        self.db.commit()

    def place_due(self, pick: int, way: int) -> None:
        del pick, way
        unplaced = self.model.unplaced()
        if not unplaced:
            raise NothingFits
        task_states.give_turns(self.db)
        self.db.execute(KEEP_WAITING)
        self.model.place(unplaced)

    # The slot

    def claim(self, pick: int, way: int) -> None:
        """Several times; between two passes less time than from one look at the whole of the lines to the next."""
        if way and not self.model.next_ids():
            raise NothingFits
        for _ in range(1 + way % 6):
            now.seconds += 0.375 * (pick % 2)
            found = self.slot.next(self.db, NAMES, new_id(), WORKER)
            self.db.commit()
            self.check([claimed.id for claimed in found])
            self.model.claim(claimed.id for claimed in found)
            self.running += found

    def check(self, found: list[UUID]) -> None:
        """What is next. What others have passed may be left out for less than a second, beside others."""
        if is_start(found, self.model.next_ids()):
            self.left_out_since = None
            return
        assert found, "a claim that finds nothing looks at the whole of its lines"
        assert any(is_start(found, self.model.next_ids(left_out)) for left_out in self.model.left_out(found))
        self.left_out_since = now.seconds if self.left_out_since is None else self.left_out_since
        assert now.seconds - self.left_out_since < FULL_LOOK_SECONDS

    def end(self, pick: int, way: int) -> None:
        if not self.running:
            raise NothingFits
        claim = self.running.pop(pick % len(self.running))
        task, fence = self.model.tasks[claim.id], (self.db, claim.id, claim.attempt)
        how = ENDS[way % len(ENDS)]
        if how == "succeeded":
            ends.end_attempt(*fence, ends.succeeded(None))
            task.ends("succeeded")
        elif how == "failed":
            ends.end_attempt(*fence, ends.failed(ERROR))
            task.ends("failed")
        elif how in {"again", "later"}:
            ends.end_attempt(*fence, ends.retried(ERROR, NextTry(0 if how == "again" else 1000)))
            task.waits(is_due=how == "again")
        elif how == "lost":
            ends.end_tasks(self.db, ends.lost("a test"), Task.id == claim.id)
            self.model.lose(task)
        else:
            ends.end_attempt(*fence, ends.handed_back("why"))
            task.waits(is_due=True)
        self.db.commit()

    def give_some_back(self, pick: int, way: int) -> None:
        """Claimed, and not begun: the latest, or such as others have passed since."""
        if not self.running:
            raise NothingFits
        first = pick % len(self.running) if way % 2 else max(0, len(self.running) - 1 - way)
        given, self.running[first:] = self.running[first:], []
        give_back(self.db, given)
        self.db.commit()
        for claim in given:
            assert claim.turn is not None
            self.model.give_back(self.model.tasks[claim.id], claim.turn)


@pytest.fixture
def _one_slot(services: Services, rollback_database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("app.messaging.wakeups.publish", lambda queues: None)
    monkeypatch.setattr(claims, "time", now)
    with settings(environment(rollback_database, services.flushed_broker())):
        kind = catalogue()[SHORT]
        monkeypatch.setitem(catalogue(), LONG, replace(kind, celery_task_name=LONG))
        yield


@pytest.mark.usefixtures("_one_slot")
class TestWhoRunsNext:
    @pytest.mark.timeout(600)
    def test_a_claim_takes_the_rows_that_the_model_names(self) -> None:
        """The same sequences each time."""
        run_machine(Turns, amount(day=4, night=24), 40, derandomize=True)

    @pytest.mark.full
    @pytest.mark.timeout(1800)
    def test_a_claim_takes_the_rows_that_the_model_names_in_sequences_never_tried_before(self) -> None:
        run_machine(Turns, 30 if ENGINE == "postgresql" else 6, 60, derandomize=False)
