"""For tests of schedules: making them, moving them back in time, and a pass of maintenance."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from unittest.mock import patch
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.maintenance.passes import schedules as fire
from app.models.schedule import Schedule, ScheduleRun
from app.models.task import Task
from app.services.schedules.scheduled_tasks import first_after, now_of, time_text, timing_of
from app.services.schedules.service import schedule_service
from tests.support.tasks import LONG_RUNNING, new_user

HOUR = timedelta(hours=1)
TASK: dict[str, Any] = {"name": "made", "task_type": "t", "celery_task_name": LONG_RUNNING, "args": [1]}


def new_schedule(db: Session, user: UUID | None = None, **fields: Any) -> Schedule:
    """A schedule of `user`, or of a user of its own: each hour from 2020 on, unless `fields` say otherwise.

    A quarter of an hour and more lies between now and its next time, so that none comes while a test runs.
    """
    start = datetime(2020, 1, 1, tzinfo=UTC, minute=0 if 15 <= datetime.now(UTC).minute < 45 else 30)
    timing = {} if "cron" in fields else {"every_seconds": 3600, "start_at": start}
    fields = {"name": "a schedule", "task": TASK, **timing, **fields}
    return schedule_service.create_schedule(db, user_id=user or new_user(db), **fields)


def rewind(db: Session, *schedules: Schedule, times: float = 1) -> list[datetime]:
    """Let so many of the last times be still to come: as if nobody had looked since. Returns these times of the first.

    Each schedule has an interval.
    """
    for schedule in schedules:
        assert schedule.every_seconds is not None
        step, now = timedelta(seconds=schedule.every_seconds), now_of(db)
        timing = timing_of(schedule)
        last = timing.latest(now - 2 * step, now)
        assert last is not None
        done_until = last - times * step + timedelta(microseconds=1) if times else last
        values = {"done_until": done_until, "due_at": first_after(timing, done_until)}
        db.execute(update(Schedule).where(Schedule.id == schedule.id).values(values))
    db.commit()
    db.refresh(schedules[0])
    timing = timing_of(schedules[0])
    return timing.between(schedules[0].done_until, now_of(db), 10_000)


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


# Else a slow machine ends a pass before each user had a turn.
_SECONDS, _PATIENT = fire.SECONDS, 60.0


def fire_all(db: Session, most: int = fire.MOST) -> int:
    """One pass of maintenance. Only what a test has set ends it early."""
    with patch.object(fire, "SECONDS", _PATIENT if fire.SECONDS == _SECONDS else fire.SECONDS):
        number = fire.fire_due(db, most)
    db.expire_all()
    return number


class _Died(BaseException):
    """As if the process were killed: nothing catches it."""


def dies_at_commit(db: Session, number: int, run: Callable[[Session], object]) -> bool:
    """Call it with this session, and die right before its commit of this number. Returns whether it came to that."""
    commits = count()

    def commit() -> None:
        if next(commits) == number:
            raise _Died
        Session.commit(db)

    with patch.object(db, "commit", commit):
        try:
            run(db)
        except _Died:
            db.rollback()
            return True
    return False


def rows(db: Session, schedule: Schedule) -> list[ScheduleRun]:
    """What became of its times, the earliest first."""
    db.expire_all()
    found = select(ScheduleRun).where(ScheduleRun.schedule_id == schedule.id)
    return list(db.scalars(found.order_by(ScheduleRun.scheduled_for, ScheduleRun.kind)))


def told(db: Session, schedule: Schedule) -> list[str]:
    """The same in words: `run`, or the code, with the number of times where it is several."""
    return [
        ("run" if row.skipped is None else row.skipped) + (f" {row.count}" if row.count else "")
        for row in rows(db, schedule)
    ]


def tasks_of(db: Session, schedule: Schedule) -> Sequence[Task]:
    """Its tasks, the earliest time first."""
    db.expire_all()
    found = db.scalars(select(Task).where(Task.schedule_id == schedule.id)).all()
    return sorted(found, key=lambda task: task.metadata_["scheduled_for"])
