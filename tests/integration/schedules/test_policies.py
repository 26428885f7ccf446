"""What becomes of times that overlap with a task before, and of those that were missed."""

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.models import Schedule
from app.models.audit import AuditRecord
from app.models.task import TaskStatus
from app.services.execution import ends
from app.services.schedules.scheduled_tasks import now_of, time_text
from app.services.schedules.service import schedule_service
from app.services.task_service import task_service
from tests.support.schedules import HOUR, fire_all, move_on, new_schedule, rewind, rows, tasks_of, told
from tests.support.tasks import claim, finish


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

    def test_does_not_count_a_task_of_a_backfill_that_was_retried(self, db: Session) -> None:
        schedule, now = new_schedule(db), now_of(db)
        (task_id,) = schedule_service.backfill(db, schedule.id, now - 3 * HOUR, now - 2 * HOUR)
        task_service.cancel(db, task_id)
        task_service.retry_task(db, task_id)
        rewind(db, schedule)
        fire_all(db)
        assert told(db, schedule) == ["run", "run"]

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
        finish(db, task)
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
        finish(db, task)
        assert fire_all(db) == 0
        schedule_service.resume(db, schedule.id)
        fire_all(db)
        assert told(db, schedule) == ["run", "run"]


class TestCatchUp:
    @pytest.mark.parametrize(
        ("policy", "found"),
        [("none", ["missed 4"]), ("latest", ["missed 3", "run"]), ("all", ["missed 2", "run", "run"])],
    )
    def test_decides_what_was_missed(self, db: Session, policy: str, found: list[str]) -> None:
        schedule = new_schedule(db, catch_up=policy, catch_up_seconds=2 * 3600, overlap="allow")
        times = rewind(db, schedule, times=4)
        fire_all(db)
        assert told(db, schedule) == found
        (missed, *_) = rows(db, schedule)
        assert (missed.scheduled_for, missed.until) == (times[0], times[missed.count - 1])
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
        assert told(db, schedule)[0].startswith("missed ")  # two, or one more for each second that the test takes

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
