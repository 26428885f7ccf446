"""Schedules as maintenance fires them: each time once, with its task, and whoever else is due."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import psycopg2
import pytest
from sqlalchemy import delete, func, literal, select, update
from sqlalchemy.orm import Session

from app.db.statements import schedules as statements
from app.ddl.columns import UTCDateTime
from app.errors import InvalidInput
from app.maintenance.passes import schedules as fire
from app.models import Schedule, ScheduleRun
from app.models.audit import AuditRecord
from app.models.task import TaskStatus
from app.schedules import zones
from app.schedules.zones import InvalidTiming
from app.schemas.schedule import ScheduleRead
from app.services.schedules import due_schedules, scheduled_tasks
from app.services.schedules.scheduled_tasks import now_of, row_for, time_text
from app.services.schedules.service import schedule_service
from app.services.task_service import task_service
from app.services.tasks import task_creation
from tests.support.database_errors import said
from tests.support.schedules import HOUR, TASK, fire_all, new_schedule, rewind, rows, tasks_of, told
from tests.support.tasks import new_user


class TestATimeThatIsDue:
    def test_has_one_task_with_its_arguments_its_schedule_and_its_time(self, db: Session) -> None:
        schedule = new_schedule(db, task=TASK | {"kwargs": {"steps": 2}, "metadata": {"a": 1}, "priority": "high"})
        (time,) = rewind(db, schedule)
        assert fire_all(db) == 1
        (task,) = tasks_of(db, schedule)
        assert (task.user_id, task.args, task.kwargs, task.queue) == (
            schedule.user_id, [1], {"steps": 2}, "high_priority",
        )  # fmt: skip
        assert task.metadata_ == {"a": 1, "scheduled_for": time_text(time)}
        assert (task.status, task.run_at) == (TaskStatus.PENDING, None)
        assert [(row.scheduled_for, row.task_id, row.skipped) for row in rows(db, schedule)] == [(time, task.id, None)]
        shown = schedule_service.get_schedule(db, schedule.id)
        assert (shown.runs, shown.skipped, shown.last_task_id, shown.next_run_at) == (1, 0, task.id, time + HOUR)
        assert shown.last_run_at is not None
        assert shown.last_run_at >= time

    def test_is_not_due_again(self, db: Session) -> None:
        schedule = new_schedule(db)
        rewind(db, schedule)
        assert [fire_all(db), fire_all(db)] == [1, 0]
        assert len(tasks_of(db, schedule)) == 1

    def test_of_a_cron_line_too(self, db: Session) -> None:
        schedule = new_schedule(db, cron="*/5 * * * *", timezone="Asia/Shanghai")
        past = now_of(db) - timedelta(minutes=5)
        db.execute(update(Schedule).where(Schedule.id == schedule.id).values(done_until=past, due_at=past))
        fire_all(db)
        (task,) = tasks_of(db, schedule)
        assert datetime.fromisoformat(task.metadata_["scheduled_for"]).minute % 5 == 0

    def test_of_another_user_is_none_of_the_first_ones(self, db: Session) -> None:
        one, other = new_schedule(db), new_schedule(db)
        rewind(db, one, other)
        assert fire_all(db) == 2
        assert [tasks_of(db, each)[0].user_id for each in (one, other)] == [one.user_id, other.user_id]

    def test_starts_later_by_its_jitter_which_is_always_the_same(self, db: Session) -> None:
        schedule = new_schedule(db, jitter_seconds=3600)
        (time,) = rewind(db, schedule)
        fire_all(db)
        (task,) = tasks_of(db, schedule)
        assert task.run_at is not None
        assert time < task.run_at < time + HOUR
        nexts = schedule_service.next_times(db, schedule.id, 2)
        assert nexts == schedule_service.next_times(db, schedule.id, 2)
        assert nexts[0].scheduled_for == time + HOUR < nexts[0].run_at

    def test_after_the_end_there_is_none(self, db: Session) -> None:
        schedule = new_schedule(db)
        (time,) = rewind(db, schedule)
        db.execute(update(Schedule).where(Schedule.id == schedule.id).values(end_at=time))
        fire_all(db)
        assert told(db, schedule) == ["run"]
        shown = schedule_service.get_schedule(db, schedule.id)
        assert (shown.next_run_at, shown.due_at) == (None, None)
        assert fire_all(db) == 0

    def test_begins_with_the_creation_of_an_interval(self, db: Session) -> None:
        schedule = new_schedule(db, start_at=None)
        assert schedule.start_at is not None
        assert schedule.created_at - schedule.start_at < timedelta(seconds=1)
        fire_all(db)
        assert [row.scheduled_for for row in rows(db, schedule)] == [schedule.start_at]

    def test_before_the_creation_is_not_missed(self, db: Session) -> None:
        schedule = new_schedule(db)
        assert fire_all(db) == 0
        assert rows(db, schedule) == []


class TestAChangedTiming:
    """It counts from now."""

    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime], None]:
        def set_to(now: datetime) -> None:
            for module in (scheduled_tasks, due_schedules):
                monkeypatch.setattr(module, "now_of", lambda _: now)
            monkeypatch.setattr(statements, "STATEMENT_TIME", literal(now, UTCDateTime))

        return set_to

    def test_also_where_the_clock_was_ahead(self, db: Session, clock: Callable[[datetime], None]) -> None:
        now = datetime(2026, 11, 30, 12, 10, 0, 500_000, tzinfo=UTC)
        clock(now)
        schedule = new_schedule(db, every_seconds=3600, start_at=now - HOUR, overlap="allow")
        clock(now + timedelta(days=1000))
        fire_all(db)
        fire_all(db)
        shown = schedule_service.get_schedule(db, schedule.id)
        assert (told(db, schedule), shown.skipped) == (["missed 23999", "run"], 23_999)
        clock(now)
        schedule_service.update_schedule(db, schedule.id, {"start_at": now - HOUR / 2})
        shown = schedule_service.get_schedule(db, schedule.id)
        assert (shown.next_run_at, shown.skipped, shown.runs) == (now + HOUR / 2, 0, 1)
        clock(now + HOUR / 2)
        fire_all(db)
        assert [row.scheduled_for for row in rows(db, schedule)] == [now + HOUR / 2, now + timedelta(days=1000)]
        assert told(db, schedule) == ["run", "run"]

    @pytest.mark.parametrize("seconds", [0, 1])
    def test_in_the_second_of_a_time_that_was_missed(
        self, db: Session, clock: Callable[[datetime], None], seconds: int
    ) -> None:
        begin = datetime(2026, 11, 30, 12, 10, tzinfo=UTC)
        tick = timedelta(milliseconds=100)
        clock(begin - HOUR)
        options = {"every_seconds": 1, "start_at": begin - timedelta(seconds=seconds), "catch_up": "none"}
        schedule = new_schedule(db, **options, catch_up_seconds=0, paused=True)
        clock(begin + tick)
        schedule_service.resume(db, schedule.id)
        clock(begin + 2 * tick)
        fire_all(db)
        clock(begin + 3 * tick)
        schedule_service.update_schedule(db, schedule.id, {"start_at": None})
        clock(begin + 4 * tick)
        fire_all(db)
        assert [row.count or 1 for row in rows(db, schedule)] == [seconds + 1]
        clock(begin + timedelta(seconds=1, milliseconds=1))
        fire_all(db)
        shown = schedule_service.get_schedule(db, schedule.id)
        assert (shown.skipped, shown.runs, shown.start_at) == (seconds + 1, 1, begin)


class TestUsers:
    def test_take_turns_within_what_a_pass_makes(self, db: Session) -> None:
        many, few = new_user(db), new_user(db)
        ones = [new_schedule(db, many) for _ in range(12)]
        others = [new_schedule(db, few) for _ in range(2)]
        rewind(db, *ones, *others)
        db.execute(update(Schedule).where(Schedule.user_id == many).values(due_at=now_of(db) - 9 * HOUR))
        db.commit()
        assert fire_all(db, 6) == 6
        assert [sum(told(db, each) == ["run"] for each in of) for of in (ones, others)] == [4, 2]
        assert [fire_all(db, 6), fire_all(db, 6)] == [6, 2]

    def test_wait_for_no_user_whose_schedules_fail_each_time(
        self, db: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        failing = new_user(db)
        bad, good = [new_schedule(db, failing) for _ in range(8)], [new_schedule(db) for _ in range(2)]
        rewind(db, *bad, *good)
        db.execute(update(Schedule).where(Schedule.user_id == failing).values(due_at=now_of(db) - 9 * HOUR))
        db.commit()

        def fails(schedule: Schedule, time: datetime) -> Any:
            return 1 / 0 if schedule.user_id == failing else row_for(schedule, time)

        monkeypatch.setattr(due_schedules, "row_for", fails)
        monkeypatch.setattr(fire, "SECONDS", 0)
        fire_all(db)
        fire_all(db)
        assert [told(db, each) for each in good] == [["run"]] * 2
        for _ in bad:
            fire_all(db)
        assert statements.due(db, 10) == []


class TestAZoneThatIsGone:
    def test_pauses_its_schedule_with_a_reason_and_no_other(self, db: Session) -> None:
        user = new_user(db)
        good, bad = new_schedule(db, user), new_schedule(db, user)
        rewind(db, good, bad)
        db.execute(update(Schedule).where(Schedule.id == bad.id).values(timezone="Mars/Olympus"))
        fire_all(db)
        assert told(db, good) == ["run"]
        shown = schedule_service.get_schedule(db, bad.id)
        assert (shown.paused, shown.next_run_at, rows(db, bad)) == (True, None, [])
        assert (shown.pause_reason or "").startswith("timezone: is no time zone")
        record = db.scalars(select(AuditRecord).where(AuditRecord.event == "schedule.paused")).one()
        assert (record.object_id, record.actor_id, record.detail["owner"]) == (str(bad.id), None, str(user))
        assert record.detail["reason"] == shown.pause_reason
        assert fire_all(db) == 0

    def test_pauses_none_that_was_mended_meanwhile(self, db: Session) -> None:
        schedule = new_schedule(db)
        read: Any = SimpleNamespace(id=schedule.id, version=schedule.version)
        schedule_service.update_schedule(db, schedule.id, {"timezone": "Europe/Berlin"})
        due_schedules.pause_broken(db, read, InvalidTiming("timezone", "is no time zone"))
        assert schedule_service.get_schedule(db, schedule.id).paused is False

    def test_next_times_are_computed_anew_by_another_version(self, db: Session) -> None:
        good, bad, paused = (new_schedule(db, cron="0 3 * * *", timezone="Europe/Berlin") for _ in range(3))
        schedule_service.pause(db, paused.id)
        wrong = datetime(2090, 1, 1, tzinfo=UTC)
        db.execute(update(Schedule).values(tzdata="2001.1", next_run_at=wrong, due_at=wrong))
        db.execute(update(Schedule).where(Schedule.id == bad.id).values(timezone="Mars/Olympus"))
        while due_schedules.rezone(db, zones.tzdata_version()):
            pass
        db.expire_all()
        shown = [schedule_service.get_schedule(db, each.id) for each in (good, bad, paused)]
        assert [each.tzdata for each in shown] == [zones.tzdata_version()] * 3
        assert shown[0].next_run_at == shown[0].due_at == schedule_service.next_times(db, good.id, 1)[0].scheduled_for
        assert [each.paused for each in shown] == [False, True, True]
        assert [each.due_at for each in shown[1:]] == [None, None]


class TestAnError:
    def test_of_one_schedule_costs_the_others_nothing_and_it_is_tried_again(
        self, db: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        user = new_user(db)
        schedules = [new_schedule(db, user) for _ in range(5)]
        rewind(db, *schedules)
        bad = schedules[2]

        def fails(schedule: Schedule, time: datetime) -> Any:
            if schedule.id == bad.id:
                raise ZeroDivisionError
            return row_for(schedule, time)

        monkeypatch.setattr(due_schedules, "row_for", fails)
        fire_all(db)
        assert [told(db, each) for each in schedules] == [["run"], ["run"], [], ["run"], ["run"]]
        assert fire_all(db) == 0
        assert schedule_service.get_schedule(db, bad.id).due_at > now_of(db)
        monkeypatch.setattr(due_schedules, "row_for", row_for)
        db.execute(update(Schedule).where(Schedule.id == bad.id).values(due_at=now_of(db)))
        fire_all(db)
        assert told(db, bad) == ["run"]

    def test_as_if_the_database_were_away_costs_the_others_nothing_while_it_answers(
        self, db: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bad_user = new_user(db)
        bad = [new_schedule(db, bad_user) for _ in range(8)]
        good = [new_schedule(db) for _ in range(2)]
        rewind(db, *bad, *good)
        bearable, fires = 2, due_schedules.fire

        def fails(db: Session, ids: Sequence[UUID], most: int) -> Any:
            if len({*ids} & {each.id for each in bad}) > bearable:
                raise said(psycopg2.OperationalError, "57P05")
            return fires(db, ids, most)

        monkeypatch.setattr(due_schedules, "fire", fails)
        monkeypatch.setattr(fire, "SECONDS", 0)
        passes = [fire_all(db) for _ in range(8)]
        assert [sum(passes), [told(db, each) for each in (*bad, *good)]] == [10, [["run"]] * 10]
        assert 0 not in passes[: passes.index(0)]
        bearable = 0
        rewind(db, bad[0])
        db.execute(delete(ScheduleRun))
        fire_all(db)
        assert schedule_service.get_schedule(db, bad[0].id).due_at > now_of(db)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "new", "cron": "0 3 * * *", "timezone": "Nowhere/City"},
        {"task": {"name": "new"}, "metadata": {"password": "***"}},
        {"name": "new", "task": {"args": ["x"]}},
        {"name": "new", "paused": True, "task": {"limit": "none"}},
    ],
)
def test_of_a_refused_change_the_commit_of_the_caller_writes_nothing(db: Session, changes: dict[str, Any]) -> None:
    schedule = new_schedule(db)
    before = ScheduleRead.model_validate(schedule)
    with pytest.raises(InvalidInput):
        schedule_service.update_schedule(db, schedule.id, changes, commit=False)
    db.commit()
    assert ScheduleRead.model_validate(schedule_service.get_schedule(db, schedule.id)) == before


def test_the_task_of_a_deleted_schedule_stays(db: Session) -> None:
    schedule = new_schedule(db)
    rewind(db, schedule)
    fire_all(db)
    (task,) = tasks_of(db, schedule)
    schedule_service.delete_schedule(db, schedule.id)
    assert task_service.get_task(db, task.id).schedule_id == schedule.id
    assert db.scalar(select(func.count()).where(ScheduleRun.schedule_id == schedule.id)) == 0


def test_several_are_made_in_one_call(db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    accept = task_creation.accept
    monkeypatch.setattr(task_creation, "accept", lambda db, rows: sizes.append(len(rows)) or accept(db, rows))
    user: UUID = new_user(db)
    rewind(db, *(new_schedule(db, user) for _ in range(10)))
    fire_all(db)
    assert sizes == [10]
    assert statements.due(db, 10) == []
