"""One schedule under everything at once, against a model: overlap, catch-up, pause, end, kills, a clock that jumps.

A pass that dies before one of its commits is followed by a whole one: together they are one pass.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import literal, select

from app.db.session import SessionLocal, engine
from app.db.statements import schedules as statements
from app.ddl.columns import UTCDateTime
from app.maintenance.passes import schedules as passes
from app.models.schedule import RunKind, ScheduleRun
from app.models.task import Task
from app.schedules import policies
from app.services.schedules import due_schedules, scheduled_tasks
from app.services.schedules.service import schedule_service
from app.services.task_service import task_service
from tests.support.databases import ENGINE
from tests.support.machine import run_machine
from tests.support.schedule_model import Model
from tests.support.schedules import TASK, dies_at_commit
from tests.support.services import Services, environment
from tests.support.settings import settings
from tests.support.tasks import claim, new_user

pytestmark = pytest.mark.promise

# Half a second behind the times: none is now.
BEGIN = datetime(2026, 3, 29, 0, 10, 0, 500_000, tzinfo=UTC)
START = datetime(2026, 3, 29, 0, 7, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
STEPS = (5, 7, 60)
OVERLAPS = ("skip", "allow", "buffer_one", "cancel_running")
CATCH_UPS = ("none", "latest", "all")
# Minutes: of the five seconds that are so, and of more than an interval, so that several times are on time.
ON_TIME = (5 / 60, 12)
# Minutes; a look three seconds behind a time is on time.
JUMPS = (0.05, 1, 5, 5.05, 7, 60, 200, -0.1, -8, -90)


class Schedules(RuleBasedStateMachine):
    """All in one transaction, which `teardown` rolls back. `tasks` has the task of each time that was fired."""

    def __init__(self) -> None:
        super().__init__()
        self.connection = engine().connect()
        self.outer = self.connection.begin()
        self.db = SessionLocal(bind=self.connection, join_transaction_mode="create_savepoint")
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(scheduled_tasks, "now_of", lambda _: self.model.now)
        self.patch.setattr(due_schedules, "now_of", lambda _: self.model.now)
        self.patch.setattr(passes.logger, "exception", self._fails)

    def teardown(self) -> None:
        self.patch.undo()
        self.db.close()
        self.outer.rollback()
        self.connection.close()

    @staticmethod
    def _fails(message: str, *arguments: Any) -> None:
        raise AssertionError(message % arguments)

    def tick(self, minutes: float) -> None:
        self.model.now += minutes * MINUTE
        self.patch.setattr(statements, "STATEMENT_TIME", literal(self.model.now, UTCDateTime))

    # -- the schedule ------------------------------------------------------------------------------------------------

    @initialize(
        step=st.sampled_from(STEPS), overlap=st.sampled_from(OVERLAPS), catch_up=st.sampled_from(CATCH_UPS),
        within=st.sampled_from((0, 10, 300)), end=st.none() | st.sampled_from((6, 60, 600)),
        on_time=st.sampled_from(ON_TIME),
    )  # fmt: skip
    def create(self, step: int, overlap: str, catch_up: str, within: int, end: int | None, on_time: float) -> None:
        self.patch.setattr(policies, "ON_TIME", on_time * MINUTE)
        last = None if end is None else BEGIN + end * MINUTE
        self.model = Model(
            START,
            step * MINUTE,
            BEGIN,
            overlap=overlap,
            catch_up=catch_up,
            within=within * MINUTE,
            end=last,
            on_time=on_time * MINUTE,
        )
        self.tick(0)
        self.id = schedule_service.create_schedule(
            self.db, user_id=new_user(self.db), name="a schedule", task=TASK, every_seconds=step * 60.0,
            start_at=self.model.anchor, overlap=overlap, catch_up=catch_up, catch_up_seconds=within * 60.0, end_at=last,
        ).id  # fmt: skip

    @rule(minutes=st.sampled_from(JUMPS))
    def time_passes(self, minutes: float) -> None:
        self.tick(minutes)

    @rule(minutes=st.sampled_from((0.05, 5, 7, 60)), dies_at=st.none() | st.integers(0, 6))
    def time_passes_and_maintenance_looks(self, minutes: float, dies_at: int | None) -> None:
        self.tick(minutes)
        self.maintenance_looks(dies_at)

    @rule(dies_at=st.none() | st.integers(0, 6))
    def maintenance_looks(self, dies_at: int | None) -> None:
        if dies_at is not None:
            dies_at_commit(self.db, dies_at, passes.fire_due)
        passes.fire_due(self.db)
        self.model.look()

    @rule(paused=st.booleans())
    def pause_or_resume(self, paused: bool) -> None:
        (schedule_service.pause if paused else schedule_service.resume)(self.db, self.id)
        self.model.pause(paused=paused)

    @rule(overlap=st.sampled_from(OVERLAPS), catch_up=st.sampled_from(CATCH_UPS))
    def change_policies(self, overlap: str, catch_up: str) -> None:
        schedule_service.update_schedule(self.db, self.id, {"overlap": overlap, "catch_up": catch_up})
        self.model.overlap, self.model.catch_up = overlap, catch_up

    @rule(step=st.sampled_from(STEPS))
    def change_interval(self, step: int) -> None:
        schedule_service.update_schedule(self.db, self.id, {"every_seconds": step * 60.0})
        self.model.change(step=step * MINUTE, end=self.model.end)

    @rule(end=st.none() | st.sampled_from((-20, 6, 60)))
    def change_end(self, end: int | None) -> None:
        last = None if end is None else max(self.model.now + end * MINUTE, self.model.anchor)
        schedule_service.update_schedule(self.db, self.id, {"end_at": last})
        self.model.change(end=last)

    @rule()
    def trigger(self) -> None:
        schedule_service.trigger(self.db, self.id)
        self.model.runs += 1

    @rule(begin=st.sampled_from((-200, -20, -6)), minutes=st.sampled_from((1, 10, 300)))
    def backfill(self, begin: int, minutes: int) -> None:
        first, last = self.model.now + begin * MINUTE, self.model.now + (begin + minutes) * MINUTE
        ids = schedule_service.backfill(self.db, self.id, first, last)
        assert len(ids) == len(self.model.backfill(first, last))

    # -- its tasks ---------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.model.pending)
    @rule(pick=st.integers(0, 5))
    def a_task_starts(self, pick: int) -> None:
        time = sorted(self.model.pending)[pick % len(self.model.pending)]
        claim(self.db, task_service.get_task(self.db, self.task_ids()[time]))
        self.model.pending.discard(time)

    @precondition(lambda self: self.model.active)
    @rule(pick=st.integers(0, 5))
    def a_task_ends(self, pick: int) -> None:
        time = sorted(self.model.active)[pick % len(self.model.active)]
        if time in self.model.pending:
            task_service.cancel_task(self.db, self.task_ids()[time])
        else:
            task_service.update_task_status(self.db, self.task_ids()[time], "succeeded")
        self.model.active.discard(time)
        self.model.pending.discard(time)

    # -- what must hold ----------------------------------------------------------------------------------------------

    @invariant()
    def rows_say_what_the_model_says(self) -> None:
        if not hasattr(self, "id"):
            return
        self.db.expire_all()
        model, row = self.model, schedule_service.get_schedule(self.db, self.id)
        rows = [each for each in self.rows() if each.kind != RunKind.TRIGGER.value]
        one_by_one = [each for each in rows if each.kind == RunKind.TIME.value]
        assert {each.scheduled_for for each in one_by_one if each.skipped} == model.overlapped
        assert {each.scheduled_for for each in one_by_one if each.task_id} == model.made == self.task_ids().keys()
        missed = [
            (each.scheduled_for, each.until or each.scheduled_for, each.count or 1) for each in rows if not each.kind
        ]
        assert missed == sorted(model.missed)
        assert (row.held_for, row.paused, row.due_at) == (model.held, model.paused, model.due)
        assert (row.runs, row.skipped) == (model.runs, model.skipped)

    def rows(self) -> list[ScheduleRun]:
        found = select(ScheduleRun).where(ScheduleRun.schedule_id == self.id)
        return list(self.db.scalars(found.order_by(ScheduleRun.scheduled_for)))

    def task_ids(self) -> dict[datetime, UUID]:
        """The task of each nominal time: none has two."""
        runs = {each.task_id for each in self.rows() if each.kind == RunKind.TRIGGER.value}
        found = [
            each for each in self.db.scalars(select(Task).where(Task.schedule_id == self.id)) if each.id not in runs
        ]
        ids = {datetime.fromisoformat(each.metadata_["scheduled_for"]): each.id for each in found}
        assert len(ids) == len(found)
        return ids


@pytest.fixture
def _service(services: Services, rollback_database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("app.messaging.wakeups.publish", lambda queues: None)
    with settings(environment(rollback_database, services.flushed_broker())):
        yield


@pytest.mark.usefixtures("_service")
class TestOneSchedule:
    @pytest.mark.timeout(600)
    def test_does_what_the_model_says(self) -> None:
        """The same sequences each time."""
        run_machine(Schedules, 25, 30, derandomize=True)

    @pytest.mark.full
    @pytest.mark.timeout(1800)
    def test_does_what_the_model_says_in_sequences_never_tried_before(self) -> None:
        run_machine(Schedules, 60 if ENGINE == "postgresql" else 12, 40, derandomize=False)
