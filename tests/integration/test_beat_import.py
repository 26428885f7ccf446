"""`import-beat-schedule`: schedules made of the entries of beat, each once."""

import re
from typing import Any
from uuid import UUID

import pytest
from celery.schedules import crontab, solar
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.__main__ import main
from app.beat.entries import Outcome, Source, import_entries
from app.core.config import get_settings
from app.core.ids import new_id
from app.db.session import SessionLocal
from app.errors import TooManySchedules
from app.messaging.application import celery_app
from app.messaging.loader import Finding
from app.models import Schedule, User
from app.models.worker import WorkerProcess
from app.services.schedules.service import schedule_service
from tests.support.accounts import MakeUser
from tests.support.task_client import module_client
from tests.support.tasks import LONG_RUNNING, new_user

client = module_client()
REPORT = {"task": LONG_RUNNING, "schedule": crontab(hour=9, minute=30, day_of_week="1-5"), "args": (1,)}
TIDY = {"task": LONG_RUNNING, "schedule": 600.0, "kwargs": {"duration": 2}, "options": {"expires": 60}}
ENTRIES: dict[str, Any] = {
    "report": REPORT,
    "tidy": TIDY,
    "sun": REPORT | {"schedule": solar.__new__(solar)},
    "gone": REPORT | {"task": "no.such.task"},
    "wrong": REPORT | {"args": ("no number",)},
    "fast": REPORT | {"schedule": 0.1},
}
SOURCE = Source(ENTRIES, "Europe/Berlin")


@pytest.fixture
def user(db: Session) -> UUID:
    return new_user(db)


def schedules(db: Session) -> list[Schedule]:
    db.expire_all()
    return list(db.scalars(select(Schedule).order_by(Schedule.name)))


def outcomes(db: Session, user: UUID, *sources: Source, **options: Any) -> dict[str, Outcome]:
    return {line.entry: line.outcome for line in import_entries(db, user, sources or [SOURCE], **options)}


class TestTheImport:
    def test_tells_what_it_would_do_and_does_nothing(self, db: Session, user: UUID) -> None:
        lines = {line.entry: line for line in import_entries(db, user, [SOURCE], apply=False)}
        assert schedules(db) == []
        assert lines["report"].text == f"every weekday at 09:30, Europe/Berlin: {LONG_RUNNING}"
        assert lines["tidy"].left_out == ["option expires"]
        left = {name: line.text for name, line in lines.items() if line.outcome is Outcome.LEAVE}
        assert left.keys() == {"sun", "gone", "wrong", "fast"}
        for name, said in (
            ("sun", "solar"),
            ("gone", "task.celery_task_name"),
            ("wrong", "task.args"),
            ("fast", "every_seconds"),
        ):
            assert said in left[name]

    def test_makes_each_once_however_often_it_runs(self, db: Session, user: UUID) -> None:
        assert outcomes(db, user, apply=True)["report"] is Outcome.CREATE
        report, tidy = schedules(db)
        assert (report.name, report.cron, report.timezone) == ("report", "30 9 * * 1-5", "Europe/Berlin")
        assert (tidy.name, tidy.every_seconds, tidy.task["kwargs"]) == ("tidy", 600, {"duration": 2})
        schedule_service.update_schedule(db, report.id, {"name": "mine", "cron": "@daily"})
        again = outcomes(db, user, apply=True)
        assert [name for name, outcome in again.items() if outcome is Outcome.EXISTS] == ["report", "tidy"]
        assert len(schedules(db)) == 2

    def test_tells_which_schedule_an_entry_has_and_its_state(self, db: Session, user: UUID) -> None:
        outcomes(db, user, apply=True)
        report, tidy = schedules(db)
        schedule_service.pause(db, tidy.id)
        lines = {line.entry: line.text for line in import_entries(db, user, [SOURCE], apply=False)}
        assert (lines["report"], lines["tidy"]) == (
            f"has the active schedule {report.id}",
            f"has the paused schedule {tidy.id}",
        )

    def test_tells_what_no_worker_knows(self, db: Session, user: UUID) -> None:
        def known() -> dict[str, bool]:
            return {line.entry: line.is_known for line in import_entries(db, user, [SOURCE], apply=False)}

        assert all(known().values())
        row = {"pid": 1, "queues": ["default"], "concurrency": 1}
        db.add(WorkerProcess(id=new_id(), name="one", task_names=["another"], **row))
        assert [name for name, is_known in known().items() if not is_known] == ["report", "tidy"]
        db.add(WorkerProcess(id=new_id(), name="two", task_names=[LONG_RUNNING], **row))
        assert all(known().values())

    def test_makes_those_of_another_user_too(self, db: Session, user: UUID) -> None:
        outcomes(db, user, apply=True)
        assert outcomes(db, new_user(db), apply=True)["tidy"] is Outcome.CREATE
        assert len(schedules(db)) == 4

    def test_begins_paused_if_it_is_told_so(self, db: Session, user: UUID) -> None:
        outcomes(db, user, apply=True, paused=True)
        assert [schedule.paused for schedule in schedules(db)] == [True, True]

    def test_makes_all_or_none(self, db: Session, user: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(get_settings(), "quota_schedules", 1)
        with pytest.raises(TooManySchedules):
            outcomes(db, user, apply=True)
        assert schedules(db) == []

    def test_leaves_a_name_that_is_there_twice(self, db: Session, user: UUID) -> None:
        lines = import_entries(db, user, [SOURCE, Source({"tidy": REPORT}, "UTC")], apply=True)
        assert [line.outcome for line in lines if line.entry == "tidy"] == [Outcome.CREATE, Outcome.LEAVE]
        assert len(schedules(db)) == 2

    def test_leaves_what_the_user_may_not_create(self, db: Session, user: UUID) -> None:
        db.execute(update(User.__table__).where(User.id == user).values(max_priority="low"))
        assert outcomes(db, user, apply=True)["tidy"] is Outcome.LEAVE


class TestTheCommand:
    def test_prints_a_line_for_each(
        self,
        client: TestClient,
        make_user: MakeUser,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        del client
        user, _ = make_user("user")
        arguments = ["import-beat-schedule", "--user", user["username"]]

        def made() -> int:
            with SessionLocal() as db:
                count = select(func.count()).select_from(Schedule).where(Schedule.user_id == UUID(user["id"]))
                return db.scalars(count).one()

        for entry, value in ENTRIES.items():
            monkeypatch.setitem(celery_app.conf.beat_schedule, entry, value)
        assert main(arguments) == 0
        told = capsys.readouterr()
        assert re.findall(r"^(\w+) +(\w+): ", told.out, re.MULTILINE) == [
            ("create", "report"), ("create", "tidy"), ("leave", "sun"), ("leave", "gone"), ("leave", "wrong"), ("leave", "fast"),
        ]  # fmt: skip
        assert "        without option expires\n" in told.out
        assert told.err.endswith("2 to create (--apply), 4 stay with beat\n")
        assert made() == 0
        assert main([*arguments, "--apply", "--paused"]) == 0
        assert "2 created, 4 stay with beat\nThey are paused: resume each when" in capsys.readouterr().err
        assert made() == 2
        assert main([*arguments, "--apply"]) == 0
        assert "exists  report: has the paused schedule " in capsys.readouterr().out
        assert made() == 2
        monkeypatch.setitem(celery_app.conf.beat_schedule, "another", TIDY)
        assert main([*arguments, "--apply"]) == 0
        assert "1 created, 4 stay with beat\nTake these out of beat_schedule now" in capsys.readouterr().err

    def test_of_a_module_that_cannot_be_imported_makes_nothing(
        self, client: TestClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        del client
        broken = Finding("module shop cannot be imported, its tasks are left out", "KeyError: 'x'", "shop.py:7")
        monkeypatch.setattr(celery_app.loader, "findings", [broken])
        assert main(["import-beat-schedule", "--user", "nobody"]) == 1
        assert capsys.readouterr().err == f"import-beat-schedule: {broken}\n"

    def test_of_an_unknown_user_says_so(self, client: TestClient, capsys: pytest.CaptureFixture[str]) -> None:
        del client
        assert main(["import-beat-schedule", "--user", "nobody"]) == 1
        assert "import-beat-schedule: there is no user nobody\n" in capsys.readouterr().err
