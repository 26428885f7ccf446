"""What a pass over the schedules costs, and how long it may take."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, update
from sqlalchemy.exc import DataError
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.maintenance.passes import schedules as fire
from app.models import Schedule, ScheduleRun, User
from app.services.schedules import backfills, due_schedules, runs
from app.services.schedules.scheduled_tasks import now_of, whole_second
from app.services.schedules.service import schedule_service
from app.services.tasks import task_creation
from app.services.tasks.new_rows import NewTask
from tests.support.plans import analyze, plan_of
from tests.support.schedules import TASK, fire_all, new_schedule, rewind, tasks_of, told
from tests.support.statements import before_each_statement
from tests.support.tasks import new_user


class _Clock:
    """Each look at it is an eighth of a second later."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.125
        return self.now


class TestCost:
    def test_of_long_computing_is_several_transactions(self, db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        """One schedule at least is written by each, so that none holds up those behind it for ever."""
        user = new_user(db)
        rewind(db, *(new_schedule(db, user) for _ in range(6)))
        written: list[int] = []
        record = runs.record_runs
        monkeypatch.setattr(runs, "record_runs", lambda db, found: written.append(len(found)) or record(db, found))
        monkeypatch.setattr(due_schedules, "monotonic", _Clock())
        assert fire_all(db) == 6
        assert written == [2, 2, 2]
        monkeypatch.setattr(due_schedules, "LOOK_SECONDS", 0)
        rewind(db, *(new_schedule(db, user) for _ in range(3)))
        fire_all(db)
        assert written[3:] == [1, 1, 1]

    def test_of_what_has_much_to_catch_up_comes_behind_what_is_on_time(
        self, db: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        user = new_user(db)
        late, on_time = new_schedule(db, user, cron="* * * * *"), new_schedule(db, user)
        past = now_of(db) - timedelta(days=90)
        db.execute(update(Schedule).where(Schedule.id == late.id).values(done_until=past, due_at=past))
        rewind(db, on_time)
        monkeypatch.setattr(due_schedules, "LOOK_SECONDS", 0)
        monkeypatch.setattr(fire, "SECONDS", 0)
        assert [fire_all(db), told(db, late), told(db, on_time)] == [1, [], ["run"]]
        assert [fire_all(db), told(db, late)] == [1, ["missed 5000"]]

    def test_of_a_pass_is_bounded_by_time_and_the_next_one_goes_on_with_who_has_waited_longest(
        self, db: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        users = [[new_schedule(db, user) for _ in range(3)] for user in (new_user(db), new_user(db), new_user(db))]
        for late, its in zip((1, 3, 2), users, strict=True):
            rewind(db, *its)
            due = now_of(db) - timedelta(minutes=late)
            db.execute(update(Schedule).where(Schedule.user_id == its[0].user_id).values(due_at=due))
        monkeypatch.setattr(due_schedules, "LOOK_SECONDS", 0)
        monkeypatch.setattr(fire, "SECONDS", 0)
        numbers = []
        for _ in range(5):
            assert fire_all(db) == 1
            numbers.append([sum(told(db, each) == ["run"] for each in its) for its in users])
        assert numbers == [[0, 1, 0], [0, 1, 1], [1, 1, 1], [1, 2, 1], [1, 2, 2]]

    def test_of_a_pass_with_nothing_due_is_two_statements(self, db: Session) -> None:
        new_schedule(db)
        sent: list[str] = []
        with before_each_statement(lambda statement, _: sent.append(statement)):
            assert fire_all(db) == 0
        assert len([each for each in sent if "SAVEPOINT" not in each]) == 2

    def test_of_many_is_no_more_statements_than_of_few(self, db: Session) -> None:
        numbers = []
        for number in (2, 40):
            user = new_user(db)
            rewind(db, *(new_schedule(db, user) for _ in range(number)))
            sent: list[str] = []
            with before_each_statement(lambda statement, _, sent=sent: sent.append(statement)):
                assert fire_all(db) == number
            numbers.append(len(sent))
        assert numbers[1] <= numbers[0] + 2

    def test_of_many_users_is_one_transaction_whatever_becomes_of_one_of_them(
        self, db: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(get_settings(), "quota_queued_tasks", 2)
        plain = [new_schedule(db) for _ in range(20)]
        greedy, inactive, broken = new_user(db), new_schedule(db), new_schedule(db)
        its = [new_schedule(db, greedy) for _ in range(5)]
        alone = new_schedule(db, task=TASK | {"unique_key": "one"})
        db.execute(update(User).where(User.id == inactive.user_id).values(is_active=False))
        db.execute(update(Schedule).where(Schedule.id == broken.id).values(task=TASK | {"args": ["x"]}))
        rewind(db, *plain, *its, inactive, broken, alone)
        written: list[int] = []
        record = runs.record_runs
        monkeypatch.setattr(runs, "record_runs", lambda db, found: written.append(len(found)) or record(db, found))
        monkeypatch.setattr(due_schedules, "LOOK_SECONDS", 60)
        assert fire_all(db) == 28
        assert sorted(written) == [1, 27]
        assert [told(db, each) for each in (*plain, alone)] == [["run"]] * 21
        assert sorted(word for each in its for word in told(db, each)) == ["quota"] * 3 + ["run"] * 2
        assert [told(db, each) for each in (inactive, broken)] == [["inactive_user"], ["invalid_arguments"]]
        assert {task.user_id for each in plain for task in tasks_of(db, each)} == {each.user_id for each in plain}

    def test_of_a_row_that_the_database_refuses_is_none_of_the_other_users(
        self, db: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        schedules = [new_schedule(db) for _ in range(3)]
        rewind(db, *schedules)
        sizes, accept = list[int](), task_creation.accept

        def refuse(db: Session, its: Sequence[NewTask]) -> Any:
            sizes.append(len(its))
            if len(its) > 1:
                raise DataError("INSERT", {}, Exception("a value"))
            return accept(db, its)

        monkeypatch.setattr(task_creation, "accept", refuse)
        assert fire_all(db) == 3
        assert sizes == [3, 2, 1, 1, 1]
        assert [told(db, each) for each in schedules] == [["run"]] * 3

    def test_of_a_preview_is_the_tasks_of_its_range(self, db: Session) -> None:
        """A schedule with many tasks, whose rows are gone: those of ten times are read, by an index."""
        schedule = new_schedule(db, every_seconds=1)
        end = whole_second(now_of(db))
        schedule_service.backfill(db, schedule.id, end - timedelta(seconds=backfills.MOST - 1), end)
        db.execute(delete(ScheduleRun))
        analyze(db.connection(), "tasks")
        sent: list[tuple[str, Any]] = []
        begin = end - timedelta(seconds=backfills.MOST)
        with before_each_statement(lambda *each: sent.append(each)):
            preview = schedule_service.preview_backfill(db, schedule.id, begin, begin + timedelta(seconds=9))
        assert preview == [begin]
        ((statement, parameters),) = [each for each in sent if "FROM tasks" in each[0]]
        assert len(db.connection().exec_driver_sql(statement, parameters).all()) <= 10
        plan = plan_of(db.connection(), statement, parameters)
        assert (*plan.indexes, plan.scans) == ("ix_tasks_scheduled_for", False), plan.text
