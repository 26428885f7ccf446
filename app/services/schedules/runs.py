"""What became of the times of schedules: rows are written, listed and forgotten here."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.db.page import Behind, Page, TimePosition, page_of
from app.db.session import transaction
from app.db.statements import schedules as statements
from app.models.schedule import RunKind, Schedule, ScheduleRun, SkipCode

# Of one schedule. More are deleted each time that a hundred have come.
KEPT, TRIM_EVERY = 1000, 100

_BY = {RunKind.MISSED: "schedule", RunKind.TIME: "schedule", RunKind.TRIGGER: "trigger"}


@dataclass(frozen=True)
class Run:
    """What became of a time: it has a task, or a code. `until` and `count` are those of several missed times."""

    schedule: Schedule
    scheduled_for: datetime
    task_id: UUID | None = None
    skipped: SkipCode | None = None
    count: int | None = None
    until: datetime | None = None
    kind: RunKind = RunKind.TIME
    is_open: bool = False

    @property
    def times(self) -> int:
        return self.count or 1


@dataclass(frozen=True)
class RunState:
    """A row as `GET /schedules/{id}/runs` shows it."""

    scheduled_for: datetime
    task_id: UUID | None
    skipped: str | None
    count: int | None
    until: datetime | None
    by: str
    kind: int

    @property
    def position(self) -> TimePosition:
        return TimePosition(self.scheduled_for, UUID(int=self.kind))


def record(db: Session, runs: Sequence[Run]) -> None:
    """Write these rows, in the transaction that makes the tasks. Raises IntegrityError if a time has a row already."""
    statements.insert_runs(db, [_row(run) for run in runs])


def _row(run: Run) -> dict[str, Any]:
    row = {"schedule_id": run.schedule.id, "scheduled_for": run.scheduled_for, "kind": run.kind.value}
    if run.skipped is None:
        return row | {"task_id": run.task_id, "is_open": run.is_open}
    return row | {"skipped": run.skipped.value, "count": run.count, "until": run.until}


def next_trigger(db: Session, schedule_id: UUID, now: datetime) -> datetime:
    """Return the time of a trigger: now, and later than that of the trigger before. The schedule's row is locked."""
    row = ScheduleRun
    of_triggers = (row.schedule_id == schedule_id, row.kind == RunKind.TRIGGER.value, row.scheduled_for >= now)
    last: datetime | None = db.scalar(select(func.max(row.scheduled_for)).where(*of_triggers))
    return now if last is None else last + timedelta(microseconds=1)


def page(db: Session, schedule_id: UUID, limit: int, cursor: str | None) -> Page[RunState, TimePosition]:
    """Return a page of what became of a schedule's times, the last one first. Raises InvalidCursor."""
    row = ScheduleRun
    found = select(row.scheduled_for, row.task_id, row.skipped, row.count, row.until, row.by_backfill, row.kind)
    found = found.where(row.schedule_id == schedule_id)
    if cursor is not None:
        at, kind = TimePosition.parse(cursor)
        found = found.where(Behind((row.scheduled_for, row.kind), (at, min(kind.int, 2))))
    rows = db.execute(found.order_by(row.scheduled_for.desc(), row.kind.desc()).limit(limit + 1))
    return page_of([_state(each) for each in rows], limit, lambda state: state.position)


def _state(row: Any) -> RunState:
    time, task_id, skipped, count, until, by_backfill, kind = row
    by = "backfill" if by_backfill else _BY[RunKind(kind)]
    return RunState(time, task_id, skipped, count, until, by, kind)


def take_back(db: Session, schedule_id: UUID, after: datetime) -> int:
    """Forget the times after this one that were skipped or missed: they are to come again. Returns how many.

    Those that have a task keep it.
    """
    row = ScheduleRun
    ahead = (row.schedule_id == schedule_id, row.scheduled_for > after, row.task_id.is_(None))
    number = db.scalar(select(func.coalesce(func.sum(func.coalesce(row.count, 1)), 0)).where(*ahead))
    db.execute(delete(row).where(*ahead).execution_options(synchronize_session=False))
    return int(number or 0)


def is_to_trim(before: int, after: int) -> bool:
    """Whether rows may have to be deleted, as the numbers of times before and after say."""
    return after > KEPT and before // TRIM_EVERY != after // TRIM_EVERY


def trim(db: Session, schedule_id: UUID) -> None:
    """Delete all but the newest KEPT rows of a schedule, in a transaction of its own."""
    with transaction(db):
        statements.trim_runs(db, schedule_id, KEPT)
