"""The rows that say what became of the times of a schedule, and their bytes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, insert, update
from sqlalchemy.orm import Session

from app.maintenance.passes import schedules as fire
from app.models import Schedule, ScheduleRun
from app.models.schedule import RunKind
from app.services.retention import SCHEDULE_RUNS_KEPT
from app.services.schedules import due_schedules, runs
from app.services.schedules.scheduled_tasks import now_of
from app.services.schedules.service import schedule_service
from tests.support.retention import forget
from tests.support.schedules import HOUR, TASK, fire_all, new_schedule, rewind, rows, tasks_of, told
from tests.support.tasks import finish, new_user


class TestRows:
    def test_are_a_thousand_of_a_schedule_and_those_of_tasks_that_run(self, db: Session) -> None:
        schedule = new_schedule(db, overlap="allow")
        (time,) = rewind(db, schedule)
        fire_all(db)
        old = [
            {"schedule_id": schedule.id, "scheduled_for": time - (at + 5) * HOUR, "kind": 1, "skipped": "overlap"}
            for at in range(runs.KEPT + 20)
        ]
        db.execute(insert(ScheduleRun), old)
        db.execute(
            update(ScheduleRun).where(ScheduleRun.task_id.is_not(None)).values(scheduled_for=time - timedelta(days=400))
        )
        runs.trim_runs(db, schedule.id)
        found = rows(db, schedule)
        assert len(found) == runs.KEPT + 1
        assert found[0].task_id is not None

    def test_are_trimmed_while_it_fires(self, db: Session) -> None:
        schedule = new_schedule(db)
        db.execute(update(Schedule).where(Schedule.id == schedule.id).values(runs=1099))
        (time,) = rewind(db, schedule)
        old = [
            {"schedule_id": schedule.id, "scheduled_for": time - (at + 1) * HOUR, "kind": 1, "skipped": "overlap"}
            for at in range(runs.KEPT + 50)
        ]
        db.execute(insert(ScheduleRun), old)
        fire_all(db)
        assert len(rows(db, schedule)) == runs.KEPT

    def test_of_a_task_that_has_ended_are_trimmed_though_nobody_looked_at_its_end(self, db: Session) -> None:
        schedule = new_schedule(db, overlap="allow")
        (time,) = rewind(db, schedule)
        fire_all(db)
        finish(db, tasks_of(db, schedule)[0])
        later(db, schedule, time, runs.KEPT)
        runs.trim_runs(db, schedule.id)
        assert [row.task_id for row in rows(db, schedule)] == [None] * runs.KEPT

    def test_are_trimmed_by_triggers(self, db: Session) -> None:
        schedule = new_schedule(db)
        db.execute(update(Schedule).where(Schedule.id == schedule.id).values(runs=1099))
        later(db, schedule, datetime(2020, 1, 1, tzinfo=UTC), runs.KEPT + 50)
        schedule_service.trigger(db, schedule.id)
        assert len(rows(db, schedule)) == runs.KEPT

    def test_of_a_backfill_stay_when_they_are_the_oldest(self, db: Session) -> None:
        """Else the same backfill would make its tasks a second time."""
        schedule = new_schedule(db)
        now = now_of(db)
        later(db, schedule, now, runs.KEPT + 10)
        first = schedule_service.backfill(db, schedule.id, now - 3 * HOUR, now)
        assert len(first) == 3
        assert {*first} <= {row.task_id for row in rows(db, schedule)}

    def test_are_forgotten_after_ninety_days(self, db: Session) -> None:
        schedule = new_schedule(db, overlap="allow", catch_up="all", catch_up_seconds=86_400)
        rewind(db, schedule, times=3)
        fire_all(db)
        finish(db, tasks_of(db, schedule)[1])
        long_ago = now_of(db) - SCHEDULE_RUNS_KEPT - HOUR
        first, second, _ = (row.scheduled_for for row in rows(db, schedule))
        old = ScheduleRun.scheduled_for.in_([first, second])
        db.execute(update(ScheduleRun).where(old).values(created_at=long_ago))
        assert forget(db, "schedule_runs") == 1
        assert second not in {row.scheduled_for for row in rows(db, schedule)}


def later(db: Session, schedule: Schedule, time: datetime, number: int) -> None:
    """Write so many rows of skipped times after this one."""
    row = {"schedule_id": schedule.id, "kind": RunKind.TIME.value, "skipped": "overlap"}
    db.execute(insert(ScheduleRun), [row | {"scheduled_for": time + (at + 1) * HOUR} for at in range(number)])
    db.commit()


class TestBytes:
    def test_of_what_one_transaction_catches_up_are_bounded(self, db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        task = TASK | {"kwargs": {"a": "z" * 900}}
        all_of = {"catch_up": "all", "catch_up_seconds": 86_400, "overlap": "allow"}
        schedules = [new_schedule(db, user, task=task, **all_of) for user in [new_user(db)] for _ in range(2)]
        rewind(db, *schedules, times=5)
        written: list[int] = []
        record = runs.record_runs
        monkeypatch.setattr(runs, "record_runs", lambda db, found: written.append(len(found)) or record(db, found))
        monkeypatch.setattr(due_schedules, "TASK_BYTES", 3500)
        assert fire_all(db) == 10
        assert [told(db, each) for each in schedules] == [["run"] * 5] * 2
        assert (sum(written), max(written)) == (10, 3)
        rewind(db, *schedules)
        db.execute(delete(ScheduleRun))
        monkeypatch.setattr(due_schedules, "TASK_BYTES", 1)  # one at least
        assert fire_all(db) == 2

    @pytest.mark.parametrize(
        "large",
        [{"metadata": {"a": "x" * 900}}, {"tags": ["y" * 45] * 20}, {"task": TASK | {"kwargs": {"a": "z" * 900}}}],
    )
    def test_of_a_transaction_are_those_of_all_that_is_read(
        self, db: Session, monkeypatch: pytest.MonkeyPatch, large: dict[str, Any]
    ) -> None:
        user = new_user(db)
        schedules = [new_schedule(db, user, **large) for _ in range(4)]
        (time,) = rewind(db, *schedules)
        sizes: list[int] = []
        fires = due_schedules.fire
        monkeypatch.setattr(fire, "MOST_BYTES", 2500)
        monkeypatch.setattr(due_schedules, "fire", lambda db, ids, most: sizes.append(len(ids)) or fires(db, ids, most))
        fire_all(db)
        assert sizes == [2, 2]
        db.execute(update(Schedule).values(held_for=time - HOUR, overlap="allow"))
        fire_all(db)
        assert sizes == [2, 2, 2, 2]
