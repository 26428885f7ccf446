"""What became of the times of schedules: rows are written, listed and forgotten here, and read for pages."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import delete, func, literal, select
from sqlalchemy.orm import Session, aliased

from app.core.moments import MICROSECOND
from app.core.redacted_text import redact_text
from app.db.listing import Listing, Page
from app.db.session import transaction
from app.db.statements import reads, schedules as statements
from app.ddl.columns import UTCDateTime
from app.models.schedule import RunKind, Schedule, ScheduleRun, SkipCode
from app.models.task import Task, TaskStatus

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


# The last one first.
RUNS = Listing(RunState, ScheduleRun.scheduled_for, ScheduleRun.kind)


def record_runs(db: Session, runs: Sequence[Run]) -> None:
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
    return now if last is None else last + MICROSECOND


def page_of_runs(db: Session, schedule_id: UUID, limit: int, cursor: str | None) -> Page[RunState]:
    """Return a page of what became of a schedule's times, the last one first. Raises InvalidCursor."""
    row = ScheduleRun
    found = select(row.scheduled_for, row.task_id, row.skipped, row.count, row.until, row.by_backfill, row.kind)
    rows = db.execute(RUNS.select_page(found.where(row.schedule_id == schedule_id), limit, cursor))
    return RUNS.cut_page([_state(each) for each in rows], limit)


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
    """Return whether rows may have to be deleted, as the numbers of times before and after say."""
    return after > KEPT and before // TRIM_EVERY != after // TRIM_EVERY


def trim_runs(db: Session, schedule_id: UUID) -> None:
    """Delete all but the newest KEPT rows of a schedule, in a transaction of its own."""
    with transaction(db):
        statements.trim_runs(db, schedule_id, KEPT)


# -- What became of the tasks that schedules made, for pages: of many schedules, or of the runs of one, in few reads ---

_TASK_COLUMNS = Task.__table__.c
# Outcomes that together are a trouble, and the kinds that do not count.
_TROUBLE = 3
_TELLS_NOTHING = {"pending", "running", "revoked", "deleted", "missed"}
_ERROR_CHARACTERS = 200
_BEFORE_ALL = datetime(1900, 1, 1, tzinfo=UTC)


class Fate(NamedTuple):
    """What became of a task."""

    status: TaskStatus
    started_at: datetime | None
    finished_at: datetime | None


_FATES = select(_TASK_COLUMNS.id, _TASK_COLUMNS.status, _TASK_COLUMNS.started_at, _TASK_COLUMNS.finished_at).where(
    reads.is_one_of(_TASK_COLUMNS.id, "ids")
)

_ERRORS = select(_TASK_COLUMNS.id, _TASK_COLUMNS.error_type, _TASK_COLUMNS.error_message).where(
    reads.is_one_of(_TASK_COLUMNS.id, "ids")
)


def fates_of_tasks(db: Session, task_ids: Collection[UUID]) -> dict[UUID, Fate]:
    """Return what became of these tasks, by their ids. Those that were deleted are left out."""
    if not task_ids:
        return {}
    return {row[0]: Fate(*row[1:]) for row in db.execute(_FATES, {"ids": list(task_ids)})}


class Outcome(NamedTuple):
    """What became of a run. `kind` is the status of its task, `deleted`, `skipped` (`code`: why), or `missed`."""

    kind: str
    task_id: UUID | None = None
    code: str | None = None


def last_outcomes(db: Session, ids: Sequence[UUID], most: int) -> dict[UUID, list[Outcome]]:
    """Return the outcomes of the last `most` runs of each of these schedules, the earliest first.

    Several missed times are one.
    """
    if not ids:
        return {}
    rows = db.execute(_newest_runs(most), {"ids": list(ids)}).all()
    known = fates_of_tasks(db, {row.task_id for row in rows if row.task_id is not None})
    found: dict[UUID, list[Outcome]] = {each: [] for each in ids}
    for row in sorted(rows, key=lambda row: row.scheduled_for):
        found[row.schedule_id].append(Outcome(outcome_of(row.task_id, row.skipped, known), row.task_id, row.skipped))
    return {each: outcomes[-most:] for each, outcomes in found.items()}


def trouble_of(outcomes: Sequence[Outcome]) -> Outcome | None:
    """Return the last one, if the last `_TROUBLE` that tell something were all failed or skipped; else None.

    A task that has not ended tells nothing yet, nor does a time that was missed, or skipped for such a task. Three or
    more that were skipped so tell something where nothing else is there.
    """
    told = [each for each in outcomes if each.kind not in _TELLS_NOTHING]
    weighty = [each for each in told if each.code != SkipCode.OVERLAP]
    last = (weighty or (told if len(told) >= _TROUBLE else []))[-_TROUBLE:]
    return last[-1] if last and all(each.kind in {"failed", "skipped"} for each in last) else None


def errors_of(db: Session, task_ids: Collection[UUID]) -> dict[UUID, str]:
    """Return the type and the begin of the message of the errors of these tasks, of those that failed."""
    if not task_ids:
        return {}
    return {
        task_id: f"{kind}: {redact_text(message)[:_ERROR_CHARACTERS]}" if message else kind
        for task_id, kind, message in db.execute(_ERRORS, {"ids": list(task_ids)})
        if kind is not None
    }


@cache
def _newest_runs(most: int) -> Any:
    """The newest rows of each schedule of `ids`: its last `most` are found by the primary key, going backwards."""
    run, other, schedule = ScheduleRun, aliased(ScheduleRun), Schedule
    last = select(other.scheduled_for).where(other.schedule_id == schedule.id)
    begin = last.order_by(other.scheduled_for.desc(), other.kind.desc()).offset(most - 1).limit(1).scalar_subquery()
    return (
        select(run.schedule_id, run.scheduled_for, run.task_id, run.skipped)
        .join(schedule, schedule.id == run.schedule_id)
        .where(reads.is_one_of(schedule.__table__.c.id, "ids"))
        .where(run.scheduled_for >= func.coalesce(begin, literal(_BEFORE_ALL, UTCDateTime)))
    )


def outcome_of(task_id: UUID | None, skipped: str | None, known: dict[UUID, Fate]) -> str:
    """Return the kind of the outcome of a run."""
    if task_id is None:
        return "missed" if skipped == "missed" else "skipped"
    return known[task_id].status.value if task_id in known else "deleted"
