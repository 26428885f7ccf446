"""What becomes of a time whose task is refused."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.models import Schedule, User
from app.services.operations import limit_service
from app.services.schedules.service import schedule_service
from app.services.task_service import task_service
from tests.support.schedules import TASK, fire_all, move_on, new_schedule, rewind, rows, tasks_of, told
from tests.support.tasks import new_task, new_user


def unknown(schedule: Schedule) -> dict[str, Any]:
    return {"task": schedule.task | {"celery_task_name": "no.such.task"}, "celery_task_name": "no.such.task"}


class TestASkip:
    """Why a time has no task."""

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            (unknown, "invalid_arguments"),
            (lambda schedule: {"task": schedule.task | {"args": ["x"]}}, "invalid_arguments"),
            (lambda schedule: {"task": schedule.task | {"limit": "none"}}, "invalid_arguments"),
            (lambda schedule: {"task": schedule.task | {"unique_key": "taken"}}, "unique_key_taken"),
            (lambda schedule: {"task": schedule.task | {"limit": "full"}}, "limit_reached"),
            (lambda schedule: {"task": schedule.task | {"priority": "critical"}}, "priority_not_allowed"),
        ],
    )
    def test_says_why_and_costs_the_others_nothing(
        self, db: Session, change: Callable[[Schedule], dict[str, Any]], code: str
    ) -> None:
        user = new_user(db)
        limit_service.put_limit(db, "full", concurrency=1, on_excess="reject")
        new_task(db, user, unique_key="taken", limit="full")
        db.execute(update(User).where(User.id == user).values(max_priority="high"))
        good, bad, last = (new_schedule(db, user) for _ in range(3))
        db.execute(update(Schedule).where(Schedule.id == bad.id).values(change(bad)))
        rewind(db, good, bad, last)
        fire_all(db)
        assert [told(db, each) for each in (good, bad, last)] == [["run"], [code], ["run"]]
        shown = schedule_service.get_schedule(db, bad.id)
        assert (shown.runs, shown.skipped, shown.last_task_id) == (0, 1, None)
        assert shown.next_run_at is not None

    def test_of_an_inactive_user(self, db: Session) -> None:
        schedule = new_schedule(db)
        db.execute(update(User).where(User.id == schedule.user_id).values(is_active=False))
        rewind(db, schedule)
        fire_all(db)
        assert told(db, schedule) == ["inactive_user"]

    def test_of_a_quota_is_of_those_that_exceed_it(self, db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(get_settings(), "quota_queued_tasks", 3)
        user = new_user(db)
        schedules = [new_schedule(db, user) for _ in range(8)]
        rewind(db, *schedules)
        fire_all(db)
        found = [word for each in schedules for word in told(db, each)]
        assert sorted(found) == ["quota"] * 5 + ["run"] * 3

    def test_a_task_that_has_the_key_counts_as_a_run_where_it_may(self, db: Session) -> None:
        user = new_user(db)
        task = new_task(db, user, unique_key="one")
        schedule = new_schedule(db, user, task=TASK | {"unique_key": "one", "on_conflict": "return"})
        rewind(db, schedule)
        fire_all(db)
        assert [row.task_id for row in rows(db, schedule)] == [task.id]
        assert schedule_service.get_schedule(db, schedule.id).runs == 1
        move_on(db, schedule)
        fire_all(db)  # it is none that the schedule has made
        assert told(db, schedule) == ["run", "run"]

    def test_a_task_of_another_schedule_is_not_its_own_once_that_runs_again(self, db: Session) -> None:
        user = new_user(db)
        keyed = TASK | {"unique_key": "one", "on_conflict": "return"}
        own, other = new_schedule(db, user, task=keyed), new_schedule(db, user, task=keyed)
        for each in (own, other):
            rewind(db, each)
            fire_all(db)
        (task,) = tasks_of(db, own)
        assert [row.task_id for row in rows(db, other)] == [task.id]
        task_service.cancel(db, task.id)
        task_service.retry_task(db, task.id)
        assert [row.is_open for each in (own, other) for row in rows(db, each)] == [True, False]
