"""Backfills: the tasks of nominal times of the past that have none."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.moments import MICROSECOND
from app.db.statements import schedules as statements
from app.db.statements.tables import SCHEDULE_RUNS
from app.db.statements.writes import upsert
from app.ddl.clock import NOW
from app.errors import Text, TooManyTimes
from app.models.schedule import RunKind, Schedule, ScheduleRun
from app.schedules.times import Timing
from app.services.accounts.users import Rights
from app.services.schedules.scheduled_tasks import row_for, time_text
from app.services.tasks import task_creation
from app.services.tasks.new_rows import Created
from app.services.tasks.permissions import check_may_create

# Tasks of one backfill, and times with a task that it looks at.
MOST, MOST_TIMES = 1000, 100_000
# Of the rows that are built and written at once.
PART_BYTES = 4 * 1024 * 1024


def times_without_task(
    db: Session, schedule: Schedule, timing: Timing, begin: datetime, end: datetime
) -> list[datetime]:  # fmt: skip
    """Return the nominal times from `begin` to `end` that have no task. Raises TooManyTimes, InvalidTiming.

    No more times are computed than have a task, and MOST besides: one more is refused.
    """
    begin = max(begin, timing.start_at)  # no time is before it
    done = _times_with_task(db, schedule.id, begin, end)
    most = len(done) + MOST
    times = timing.between(begin - MICROSECOND, end, most + 1)
    found = [time for time in times if time_text(time) not in done]
    if len(found) > MOST:
        raise TooManyTimes.at(
            ["to"], Text("until then more than {} times have no task, and a backfill makes no more", f"{MOST:,}")
        )
    return found


def still_without_task(db: Session, schedule: Schedule, times: Sequence[datetime]) -> list[datetime]:
    """Return those of these times that have no task yet. Raises TooManyTimes."""
    if not times:
        return []
    done = _times_with_task(db, schedule.id, times[0], times[-1])
    return [time for time in times if time_text(time) not in done]


def _times_with_task(db: Session, schedule_id: UUID, begin: datetime, end: datetime) -> set[str]:
    run = ScheduleRun
    rows = select(run.scheduled_for).where(run.schedule_id == schedule_id, run.kind == RunKind.TIME.value)
    rows = rows.where(run.scheduled_for.between(begin, end), run.task_id.is_not(None)).limit(MOST_TIMES + 1)
    done = {time_text(time) for time in db.scalars(rows)}
    # The rows of some are deleted, and their tasks are there.
    tasks = statements.times_of_tasks(db, schedule_id, begin, end, MOST_TIMES + 1)
    if max(len(done), len(tasks)) > MOST_TIMES:
        raise TooManyTimes.at(
            ["to"],
            Text("until then more than {} times have a task, and a backfill looks at no more", f"{MOST_TIMES:,}"),
        )
    return done.union(tasks)


def recent_begin(timing: Timing, now: datetime) -> datetime:
    """Return the begin of a range to propose that ends now: of a day, or of the times that one backfill makes.

    Raises InvalidTiming.
    """
    a_day_ago = now - timedelta(days=1)
    times = timing.between(a_day_ago, now, MOST + 1)
    return now - (times[MOST - 1] - times[0]) if len(times) > MOST else a_day_ago


def make_tasks(
    db: Session, schedule: Schedule, times: Sequence[datetime], *, within_quota: bool, rights: Rights | None
) -> list[UUID]:
    """Make the tasks of these times, in the caller's transaction, and return their ids. Raises as `creating` does.

    Large ones in parts: what is built at once is small, and the server ends no transaction that waits for it.
    """
    ids = list[UUID]()
    while len(ids) < len(times):
        rows = [row_for(schedule, times[len(ids)], jittered=False)]
        if rights is not None and not ids:
            check_may_create([rows[0].wanted], rights)
        part = times[len(ids) : len(ids) + max(PART_BYTES // len(rows[0].text), 1)]
        rows += [row_for(schedule, time, jittered=False) for time in part[1:]]
        with task_creation.creating(db, rows, commit=False, within_quota=within_quota) as created:
            ids += [each.id for each in created]
        _record(db, schedule, part, created)
    return ids


def _record(db: Session, schedule: Schedule, times: Sequence[datetime], created: Sequence[Created]) -> None:
    """Write that these times have these tasks now, also where a row says why one had none."""
    rows: list[dict[str, Any]] = [
        {
            "schedule_id": schedule.id,
            "scheduled_for": time,
            "kind": RunKind.TIME.value,
            "task_id": each.id,
            "skipped": None,
            "by_backfill": True,
        }
        for time, each in zip(times, created, strict=True)
    ]
    upsert(
        db,
        SCHEDULE_RUNS,
        rows,
        lambda _, new: {
            "task_id": new.task_id,
            "skipped": new.skipped,
            "by_backfill": new.by_backfill,
            "created_at": NOW,
        },
    )
