"""Each time is dealt with once, whatever runs twice, dies or changes at the same time."""

import threading
from typing import Any

import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.ids import new_id
from app.db.session import SessionLocal
from app.db.statements import accounts, schedules as statements
from app.errors import TooManySchedules
from app.maintenance.passes import schedules as fire
from app.models import Schedule, ScheduleRun, Task
from app.models.schedule import RunKind
from app.services.task_service import task_service
from tests.support.databases import ENGINE
from tests.support.schedules import dies_at_commit, fire_all, new_schedule, rewind, rows, tasks_of, told
from tests.support.statements import before_each_statement
from tests.support.tasks import new_user


class TestTwice:
    """In a database of its own, where transactions commit."""

    def test_two_processes_at_once_make_each_task_once(self, fresh_database: None) -> None:
        del fresh_database
        with SessionLocal() as db:
            users = [new_user(db) for _ in range(3)]
            schedules = [new_schedule(db, user) for user in users for _ in range(20)]
            rewind(db, *schedules)
        at_once = threading.Barrier(4)
        errors: list[BaseException] = []

        def run() -> None:
            with SessionLocal() as db:
                at_once.wait(20)
                try:
                    for _ in range(3):
                        fire.fire_due(db)
                except BaseException as error:  # noqa: BLE001 (told below)
                    errors.append(error)

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert errors == []
        with SessionLocal() as db:
            while fire.fire_due(db):
                pass
            found = db.execute(select(Task.schedule_id, func.count()).group_by(Task.schedule_id)).all()
            assert {row[0]: row[1] for row in found} == {each.id: 1 for each in schedules}
            assert db.scalar(select(func.count()).select_from(ScheduleRun)) == 60

    def test_a_process_that_dies_before_any_commit_loses_nothing(self, fresh_database: None) -> None:
        del fresh_database
        step, died = 0, True
        while died:
            with SessionLocal() as db:
                user = new_user(db)
                schedules = [
                    new_schedule(db, user, overlap=overlap, catch_up="all", catch_up_seconds=86_400)
                    for overlap in ("skip", "allow", "buffer_one", "cancel_running")
                ]
                rewind(db, *schedules, times=3)
            with SessionLocal() as db:
                died = dies_at_commit(db, step, fire.fire_due)
            with SessionLocal() as db:
                while fire.fire_due(db):
                    pass
                assert [told(db, each) for each in schedules] == [
                    ["run", "overlap", "overlap"], ["run"] * 3, ["run", "overlap"], ["overlap", "overlap", "run"],
                ]  # fmt: skip
                assert [len(tasks_of(db, each)) for each in schedules] == [1, 3, 1, 1]
            step += 1
        assert step > 3

    @pytest.mark.skipif(ENGINE == "sqlite", reason="who writes holds all others up")
    def test_a_user_who_is_being_changed_holds_up_no_pass(self, fresh_database: None) -> None:
        del fresh_database

        def run() -> None:
            with SessionLocal() as session:
                fire.fire_due(session)

        with SessionLocal() as db, SessionLocal() as other:
            schedule, free = new_schedule(db), new_schedule(db)
            rewind(db, schedule, free)
            db.commit()
            accounts.lock_user(other, schedule.user_id)
            passing = threading.Thread(target=run)
            passing.start()
            passing.join(5)
            ended = not passing.is_alive()
            other.rollback()
            passing.join(20)
            assert ended
            assert [told(db, each) for each in (schedule, free)] == [[], ["run"]]
            fire_all(db)
            assert told(db, schedule) == ["run"]

    def test_requests_at_once_do_not_exceed_the_quota(
        self, fresh_database: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        del fresh_database
        monkeypatch.setattr(get_settings(), "quota_schedules", 1)
        with SessionLocal() as db:
            user = new_user(db)
        refused: list[TooManySchedules] = []

        def create() -> None:
            with SessionLocal() as other:
                try:
                    new_schedule(other, user, within_quota=True)
                except TooManySchedules as error:
                    refused.append(error)

        with SessionLocal() as db:
            new_schedule(db, user, within_quota=True, commit=False)
            second = threading.Thread(target=create)
            second.start()
            second.join(1)
            db.commit()
            second.join(20)
            assert len(refused) == 1
            assert db.scalar(select(func.count()).select_from(Schedule)) == 1

    @pytest.mark.skipif(ENGINE == "sqlite", reason="who writes holds all others up")
    def test_a_retry_between_a_look_at_a_task_and_what_it_notes_is_not_undone(self, fresh_database: None) -> None:
        del fresh_database
        with SessionLocal() as db:
            schedule = new_schedule(db)
            rewind(db, schedule)
            fire_all(db)
            (task,) = tasks_of(db, schedule)
            task_service.cancel(db, task.id)
        waiting = [task.id]

        def retry(statement: str, _: Any) -> None:
            if "UPDATE" in statement and waiting:
                task_id = waiting.pop()
                with SessionLocal() as other:
                    task_service.retry_task(other, task_id)

        with SessionLocal() as db:
            with before_each_statement(retry):
                statements.active_tasks(db, [schedule.id])
                db.commit()
            assert [row.is_open for row in rows(db, schedule)] == [True]
            assert waiting == []

    def test_a_row_that_is_there_is_never_written_again(self, db: Session) -> None:
        schedule = new_schedule(db)
        (time,) = rewind(db, schedule)
        db.execute(
            insert(ScheduleRun).values(
                schedule_id=schedule.id, scheduled_for=time, kind=RunKind.TIME.value, task_id=new_id()
            )
        )
        assert fire_all(db) == 1
        assert tasks_of(db, schedule) == []
