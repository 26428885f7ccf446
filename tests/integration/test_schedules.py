"""Schedules as maintenance fires them: each time once, whatever overlaps, is missed, is refused or runs twice."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.ids import new_id
from app.db.session import SessionLocal
from app.db.statements import schedules as statements, users
from app.errors import InvalidInput, TooManySchedules
from app.maintenance.passes import schedules as fire
from app.models import Schedule, ScheduleRun, Task, User
from app.models.audit import AuditRecord
from app.models.schedule import RunKind
from app.models.task import TaskStatus
from app.schedules import zones
from app.schemas.schedule import ScheduleRead
from app.services.execution import ends
from app.services.operations import limit_service
from app.services.schedule_service import schedule_service
from app.services.schedules import firing, making, rezoning, runs
from app.services.schedules.requests import time_text
from app.services.schedules.timing import now_of
from app.services.task_service import task_service
from app.services.tasks import task_creation
from tests.support.databases import ENGINE
from tests.support.schedules import TASK, dies_at_commit, fire_all, new_schedule, rewind, rows, tasks_of, told
from tests.support.statements import before_each_statement
from tests.support.tasks import claim, new_task, new_user

HOUR = timedelta(hours=1)


def end(db: Session, task: Task) -> None:
    """Have a body run and succeed."""
    assert ends.end_attempt(db, task.id, claim(db, task).attempt, ends.succeeded(1))
    db.commit()


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


class TestOverlap:
    def test_is_skipped_while_the_last_task_is_pending_or_running(self, db: Session) -> None:
        schedule = new_schedule(db)
        rewind(db, schedule)
        fire_all(db)
        (task,) = tasks_of(db, schedule)
        for _ in range(2):
            move_on(db, schedule)
            fire_all(db)
            if task.status is TaskStatus.PENDING:
                claim(db, task)
        assert told(db, schedule) == ["run", "overlap", "overlap"]
        assert schedule_service.get_schedule(db, schedule.id).skipped == 2
        assert ends.end_attempt(db, task.id, 1, ends.succeeded(1))
        move_on(db, schedule)
        fire_all(db)
        assert told(db, schedule)[-1] == "run"

    def test_counts_a_task_that_was_retried(self, db: Session) -> None:
        schedule = new_schedule(db)
        rewind(db, schedule)
        fire_all(db)
        (task,) = tasks_of(db, schedule)
        task_service.cancel(db, task.id)
        move_on(db, schedule)
        fire_all(db)  # it has ended
        task_service.cancel(db, tasks_of(db, schedule)[1].id)
        task_service.retry_task(db, task.id)
        move_on(db, schedule)
        fire_all(db)
        assert told(db, schedule) == ["run", "run", "overlap"]

    def test_does_not_count_tasks_of_a_trigger_or_a_backfill(self, db: Session) -> None:
        schedule = new_schedule(db)
        schedule_service.trigger(db, schedule.id)
        now = now_of(db)
        assert len(schedule_service.backfill(db, schedule.id, now - 3 * HOUR, now - HOUR)) == 2
        rewind(db, schedule)
        fire_all(db)
        assert sorted(told(db, schedule)) == ["run"] * 4

    def test_may_be_allowed(self, db: Session) -> None:
        schedule = new_schedule(db, overlap="allow", catch_up="all", catch_up_seconds=86_400)
        rewind(db, schedule, times=3)
        fire_all(db)
        assert told(db, schedule) == ["run"] * 3

    def test_keeps_one_waiting_that_starts_once_the_old_one_has_ended(self, db: Session) -> None:
        schedule = new_schedule(db, overlap="buffer_one")
        rewind(db, schedule)
        fire_all(db)
        (task,) = tasks_of(db, schedule)
        second = move_on(db, schedule)
        assert fire_all(db) == 1
        move_on(db, schedule)
        fire_all(db)
        assert told(db, schedule) == ["run", "overlap"]
        end(db, task)
        fire_all(db)
        assert told(db, schedule) == ["run", "run", "overlap"]
        assert tasks_of(db, schedule)[1].metadata_["scheduled_for"] == time_text(second - HOUR)
        assert fire_all(db) == 0

    def test_cancels_a_running_task_and_starts_once_that_has_ended(self, db: Session) -> None:
        schedule = new_schedule(db, overlap="cancel_running")
        rewind(db, schedule)
        fire_all(db)
        (task,) = tasks_of(db, schedule)
        attempt = claim(db, task).attempt
        move_on(db, schedule)
        fire_all(db)
        assert [each.cancel_requested_at is None for each in tasks_of(db, schedule)] == [False]
        last = move_on(db, schedule)
        fire_all(db)
        assert told(db, schedule) == ["run", "overlap"]
        assert ends.end_attempt(db, task.id, attempt, ends.stopped("cancelled"))
        fire_all(db)
        assert told(db, schedule) == ["run", "overlap", "run"]
        assert tasks_of(db, schedule)[1].metadata_["scheduled_for"] == time_text(last)
        found = db.scalars(select(AuditRecord.detail).where(AuditRecord.event == "task.cancelled")).all()
        assert [each["by_schedule"] for each in found] == [str(schedule.id)]

    def test_cancels_a_pending_task_and_starts_in_the_same_pass(self, db: Session) -> None:
        schedule = new_schedule(db, overlap="cancel_running")
        rewind(db, schedule)
        fire_all(db)
        move_on(db, schedule)
        fire_all(db)
        assert [task.status for task in tasks_of(db, schedule)] == [TaskStatus.REVOKED, TaskStatus.PENDING]

    def test_of_a_paused_schedule_what_waits_goes_on_waiting(self, db: Session) -> None:
        schedule = new_schedule(db, overlap="buffer_one")
        rewind(db, schedule)
        fire_all(db)
        (task,) = tasks_of(db, schedule)
        move_on(db, schedule)
        fire_all(db)
        schedule_service.pause(db, schedule.id)
        end(db, task)
        assert fire_all(db) == 0
        schedule_service.resume(db, schedule.id)
        fire_all(db)
        assert told(db, schedule) == ["run", "run"]


def move_on(db: Session, schedule: Schedule) -> datetime:
    """Let the start, and with it all that became of its times, be an interval earlier: the next time is due now."""
    step = timedelta(seconds=schedule.every_seconds or 0)
    for row in rows(db, schedule):
        db.execute(
            update(ScheduleRun)
            .where(ScheduleRun.schedule_id == schedule.id, ScheduleRun.scheduled_for == row.scheduled_for)
            .values(scheduled_for=row.scheduled_for - step)
        )
        task = None if row.task_id is None else db.get(Task, row.task_id)
        if task is not None and "scheduled_for" in task.metadata_:
            at = datetime.fromisoformat(task.metadata_["scheduled_for"]) - step
            db.execute(update(Task).where(Task.id == task.id).values(metadata_={"scheduled_for": time_text(at)}))
    db.refresh(schedule)
    if schedule.held_for is not None:
        db.execute(update(Schedule).where(Schedule.id == schedule.id).values(held_for=schedule.held_for - step))
    (time,) = rewind(db, schedule)
    return time


class TestCatchUp:
    @pytest.mark.parametrize(
        ("policy", "found"),
        [
            ("none", ["missed 4"]),
            ("latest", ["missed 3", "run"]),
            ("all", ["missed 2", "run", "run"]),
        ],
    )
    def test_decides_what_was_missed(self, db: Session, policy: str, found: list[str]) -> None:
        schedule = new_schedule(db, catch_up=policy, catch_up_seconds=2 * 3600, overlap="allow")
        times = rewind(db, schedule, times=4)
        fire_all(db)
        assert told(db, schedule) == found
        (missed, *_) = rows(db, schedule)
        assert (missed.scheduled_for, missed.until) == (times[0], times[missed.count - 1])  # type: ignore[operator]
        shown = schedule_service.get_schedule(db, schedule.id)
        assert (shown.runs, shown.skipped) == (len(found) - 1, missed.count)

    def test_one_missed_time_is_a_row_without_a_number(self, db: Session) -> None:
        schedule = new_schedule(db)
        times = rewind(db, schedule, times=2)
        fire_all(db)
        missed, run = rows(db, schedule)
        assert (missed.scheduled_for, missed.count, missed.until) == (times[0], None, None)
        assert run.scheduled_for == times[1]

    def test_of_a_pause_is_decided_when_it_is_resumed(self, db: Session) -> None:
        schedule = new_schedule(db)
        schedule_service.pause(db, schedule.id)
        rewind(db, schedule, times=3)
        db.execute(update(Schedule).where(Schedule.id == schedule.id).values(due_at=None))
        assert fire_all(db) == 0
        shown = schedule_service.resume(db, schedule.id)
        assert shown.next_run_at is not None
        assert shown.next_run_at > now_of(db)
        fire_all(db)
        assert told(db, schedule) == ["missed 2", "run"]

    def test_none_makes_up_nothing_of_a_pause_however_short_it_was(self, db: Session) -> None:
        schedule = new_schedule(db, every_seconds=1, catch_up="none")
        schedule_service.pause(db, schedule.id)
        rewind(db, schedule, times=2)
        schedule_service.resume(db, schedule.id)
        fire_all(db)
        assert told(db, schedule)[0] == "missed 2"

    def test_of_more_than_a_pass_makes_goes_on_with_the_next(self, db: Session) -> None:
        schedule = new_schedule(db, catch_up="all", catch_up_seconds=86_400, overlap="allow")
        times = rewind(db, schedule, times=7)
        assert [fire_all(db, 3) for _ in range(4)] == [3, 3, 1, 0]
        assert [row.scheduled_for for row in rows(db, schedule)] == times

    def test_leaves_out_what_a_backfill_has_made(self, db: Session) -> None:
        schedule = new_schedule(db, overlap="allow")
        schedule_service.pause(db, schedule.id)
        times = rewind(db, schedule, times=4)
        schedule_service.backfill(db, schedule.id, times[1], times[3])
        schedule_service.resume(db, schedule.id)
        fire_all(db)
        assert told(db, schedule) == ["missed", "run", "run", "run"]


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


class TestUsers:
    def test_take_turns_within_what_a_pass_makes(self, db: Session) -> None:
        many, few = new_user(db), new_user(db)
        ones = [new_schedule(db, many) for _ in range(12)]
        others = [new_schedule(db, few) for _ in range(2)]
        rewind(db, *ones, *others)
        assert fire_all(db, 6) == 6
        assert [sum(told(db, each) == ["run"] for each in of) for of in (ones, others)] == [4, 2]
        assert [fire_all(db, 6), fire_all(db, 6)] == [6, 2]


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
        assert "Mars/Olympus" in (shown.pause_reason or "")
        record = db.scalars(select(AuditRecord).where(AuditRecord.event == "schedule.paused")).one()
        assert (record.object_id, record.actor_id, record.detail["owner"]) == (str(bad.id), None, str(user))
        assert record.detail["reason"] == shown.pause_reason
        assert fire_all(db) == 0

    def test_next_times_are_computed_anew_by_another_version(self, db: Session) -> None:
        good, bad, paused = (new_schedule(db, cron="0 3 * * *", timezone="Europe/Berlin") for _ in range(3))
        schedule_service.pause(db, paused.id)
        wrong = datetime(2090, 1, 1, tzinfo=UTC)
        db.execute(update(Schedule).values(tzdata="2001.1", next_run_at=wrong, due_at=wrong))
        db.execute(update(Schedule).where(Schedule.id == bad.id).values(timezone="Mars/Olympus"))
        while rezoning.rezone(db, zones.version()):
            pass
        db.expire_all()
        shown = [schedule_service.get_schedule(db, each.id) for each in (good, bad, paused)]
        assert [each.tzdata for each in shown] == [zones.version()] * 3
        assert shown[0].next_run_at == shown[0].due_at == schedule_service.next_times(db, good.id, 1)[0].scheduled_for
        assert [each.paused for each in shown] == [False, True, True]
        assert [each.due_at for each in shown[1:]] == [None, None]


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
        runs.trim(db, schedule.id)
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
        end(db, tasks_of(db, schedule)[0])
        later(db, schedule, time, runs.KEPT)
        runs.trim(db, schedule.id)
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
        end(db, tasks_of(db, schedule)[1])
        long_ago = now_of(db) - runs.KEPT_FOR - HOUR
        first, second, _ = (row.scheduled_for for row in rows(db, schedule))
        old = ScheduleRun.scheduled_for.in_([first, second])
        db.execute(update(ScheduleRun).where(old).values(created_at=long_ago))
        assert runs.forget(db) == 1
        assert second not in {row.scheduled_for for row in rows(db, schedule)}


def later(db: Session, schedule: Schedule, time: datetime, number: int) -> None:
    """Write so many rows of skipped times after this one."""
    row = {"schedule_id": schedule.id, "kind": RunKind.TIME.value, "skipped": "overlap"}
    db.execute(insert(ScheduleRun), [row | {"scheduled_for": time + (at + 1) * HOUR} for at in range(number)])
    db.commit()


class TestBytes:
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
        fires = firing.fire
        monkeypatch.setattr(fire, "MOST_BYTES", 2500)
        monkeypatch.setattr(firing, "fire", lambda db, ids, most: sizes.append(len(ids)) or fires(db, ids, most))
        fire_all(db)
        assert sizes == [2, 2]
        db.execute(update(Schedule).values(held_for=time - HOUR, overlap="allow"))
        fire_all(db)
        assert sizes == [2, 2, 2, 2]


class TestAnError:
    def test_of_one_schedule_costs_the_others_nothing_and_it_is_tried_again(
        self, db: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        user = new_user(db)
        schedules = [new_schedule(db, user) for _ in range(5)]
        rewind(db, *schedules)
        bad, row_for = schedules[2], firing.row_for

        def fails(schedule: Schedule, time: datetime) -> Any:
            if schedule.id == bad.id:
                raise ZeroDivisionError
            return row_for(schedule, time)

        monkeypatch.setattr(firing, "row_for", fails)
        fire_all(db)
        assert [told(db, each) for each in schedules] == [["run"], ["run"], [], ["run"], ["run"]]
        assert fire_all(db) == 0
        assert schedule_service.get_schedule(db, bad.id).due_at > now_of(db)  # type: ignore[operator]
        monkeypatch.setattr(firing, "row_for", row_for)
        db.execute(update(Schedule).where(Schedule.id == bad.id).values(due_at=now_of(db)))
        fire_all(db)
        assert told(db, bad) == ["run"]


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
            users.lock_user(other, schedule.user_id)
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
        record = runs.record
        monkeypatch.setattr(runs, "record", lambda db, found: written.append(len(found)) or record(db, found))
        monkeypatch.setattr(firing, "monotonic", _Clock())
        assert fire_all(db) == 6
        assert written == [2, 2, 2]
        monkeypatch.setattr(firing, "LOOK_SECONDS", 0)
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
        monkeypatch.setattr(firing, "LOOK_SECONDS", 0)
        monkeypatch.setattr(fire, "SECONDS", 0)
        assert [fire_all(db), told(db, late), told(db, on_time)] == [1, [], ["run"]]
        assert [fire_all(db), told(db, late)] == [1, ["missed 5000"]]

    def test_of_a_pass_is_bounded_by_time_once_each_user_had_a_turn(
        self, db: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ones, others = ([new_schedule(db, user) for _ in range(4)] for user in (new_user(db), new_user(db)))
        rewind(db, *ones, *others)
        monkeypatch.setattr(firing, "LOOK_SECONDS", 0)
        monkeypatch.setattr(fire, "SECONDS", 0)
        assert fire_all(db) == 2
        assert [sum(told(db, each) == ["run"] for each in of) for of in (ones, others)] == [1, 1]

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
    creating = task_creation.creating

    def counted(db: Session, rows: Any, **options: Any) -> Any:
        sizes.append(len(rows))
        return creating(db, rows, **options)

    monkeypatch.setattr(making.task_creation, "creating", counted)
    user: UUID = new_user(db)
    rewind(db, *(new_schedule(db, user) for _ in range(10)))
    fire_all(db)
    assert sizes == [10]
    assert statements.due(db, 10) == []
