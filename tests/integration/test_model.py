"""Random sequences of everything that may happen to tasks, on a real PostgreSQL, against the model of them.

Slots are woken at will, attempts go on speaking after they were lost, replies get lost, queues are paused, the clock moves
by hours (by SQL: the rows' times go back), and after each step every row says what the model says.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import note, strategies as st
from hypothesis.stateful import rule
from sqlalchemy import update

from app.catalogue import catalogue
from app.db.statements import workers
from app.ddl.clock import NOW
from app.maintenance.passes import deletions, task_states
from app.models import WorkerProcess
from tests.support.amounts import amount
from tests.support.both_sides import BothSides
from tests.support.databases import ENGINE
from tests.support.machine import ONCE_ONLY, Machine, NothingFits, run_machine
from tests.support.model_maintenance import LEASE, ModelWorker, forgotten_among, lost_among
from tests.support.retention import forget
from tests.support.services import Services, environment
from tests.support.settings import settings
from tests.support.tasks import LONG_RUNNING

pytestmark = pytest.mark.promise

# From one step to the next to try; shares no factor with their number.
STRIDE = 11


class Everything(Machine):
    """The rest of it: time, workers, the maintenance passes."""

    STEPS = (
        *("take_rows",) * 6, *("wake_pass",) * 4, *("give_back",) * 2, "ask_what_became_of_the_claim", "pause_or_resume",
        *("speak",) * 5, "body_speaks_of_itself", *("parent_speaks_for_a_dead_child",) * 4,
        "create", "create", "cancel", "cancel", *("retry",) * 3, "delete", "patch_priority", "patch_start", "run_now",
        "set_status_from_outside",
        *("time_goes_by",) * 2, "worker_beats", "worker_says_goodbye", "rescue_pass", "tidying_passes",
    )  # fmt: skip

    @rule(what=st.integers(0, len(STEPS) - 1), pick=st.integers(0, 6), way=st.integers(0, 7))
    def step(self, what: int, pick: int, way: int) -> None:
        """This one, or the next one that has something to do."""
        for further in range(len(self.STEPS)):
            with suppress(NothingFits):
                name = self.STEPS[(what + STRIDE * further) % len(self.STEPS)]
                getattr(self, name)(pick, way)
                note(name)
                return

    def time_goes_by(self, pick: int, way: int) -> None:
        del way
        self.both.pass_time((900.0, 4000.0, 100_000.0)[pick % 3])

    def worker_beats(self, pick: int, way: int) -> None:
        del way
        who = self.both.identities[pick % 2]
        workers.beat(self.db, who.id, {"name": who.name, "pid": 1, "queues": [], "concurrency": 1}, {})
        self.db.commit()
        # One that comes back after its goodbye works again.
        self.both.workers[who.name] = ModelWorker(self.clock.now)

    def worker_says_goodbye(self, pick: int, way: int) -> None:
        del way
        who = self.both.identities[pick % 2]
        self.db.execute(update(WorkerProcess).where(WorkerProcess.id == who.id).values(stopped_at=NOW))
        self.db.commit()
        if who.name in self.both.workers:
            self.both.workers[who.name].stopped = True

    def rescue_pass(self, pick: int, way: int) -> None:
        del way
        lost = lost_among(self.model.values(), self.both.workers, silent_too=pick % 2 == 0)
        silence = timedelta(seconds=LEASE)
        assert task_states.end_lost_attempts(self.db, silent_for=silence if pick % 2 == 0 else None) == sum(
            task.lose() for task in lost
        )

    def tidying_passes(self, pick: int, way: int) -> None:
        del pick, way
        expired = [task for task in self.both.live() if task.status == "pending" and task.expired()]
        assert task_states.revoke_expired(self.db) == sum(task.expire() for task in expired)
        unwanted = [task for task in self.both.live() if task.delete_requested and task.has_ended()]
        assert deletions.delete_requested(self.db) == sum(bool(task.delete(force=False)) for task in unwanted)
        gone = forgotten_among(self.both.live(), self.both.workers, self.clock)
        assert forget(self.db, "worker_processes") == len(gone)
        for name in gone:
            del self.both.workers[name]


@pytest.fixture
def _both_sides_agree_on_times(
    services: Services, rollback_database: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Minutes instead of seconds, so that a slow machine changes no decision; and nothing is published for real."""
    times = {"WORKER_LEASE_SECONDS": str(LEASE)}
    monkeypatch.setattr("app.messaging.wakeups.publish", BothSides.published.extend)
    with settings(environment(rollback_database, services.flushed_broker(), **times)):
        kind = catalogue()[LONG_RUNNING]
        monkeypatch.setitem(catalogue(), ONCE_ONLY, replace(kind, celery_task_name=ONCE_ONLY, rerun_lost=False))
        yield


@pytest.mark.usefixtures("_both_sides_agree_on_times")
class TestModel:
    @pytest.mark.timeout(600)
    def test_the_rows_do_what_the_model_does_whatever_happens(self) -> None:
        """The same sequences each time."""
        run_machine(Everything, amount(day=12, night=50), 50, derandomize=True)

    @pytest.mark.full
    @pytest.mark.timeout(1800)
    def test_the_rows_do_what_the_model_does_in_sequences_never_tried_before(self) -> None:
        run_machine(Everything, 60 if ENGINE == "postgresql" else 12, 80, derandomize=False)
