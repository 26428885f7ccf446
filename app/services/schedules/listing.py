"""Schedules for pages and lists: which to list, a page of them, and what became of the tasks that they made."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from functools import cache, partial
from typing import Annotated, Any, ClassVar, NamedTuple
from uuid import UUID

from pydantic import Field
from sqlalchemy import Integer, Text, func, literal, select
from sqlalchemy.orm import Session, aliased

from app.core.redacted_text import redact_text
from app.db.listing import WHOSE, Filter, Listing, Matches, Whose
from app.db.statements import reads
from app.db.statements.expressions import has_member, holds_text, octet_length
from app.ddl.columns import UTCDateTime
from app.models.schedule import Schedule, ScheduleRun, SkipCode
from app.models.task import Task, TaskStatus
from app.schemas.values import ShortText, Tag

# What a schedule takes in an answer besides its task, tags and metadata: the names of all fields, ids, times, a name.
_FIXED_BYTES = 1600
_LARGE_COLUMNS = ("task", "tags", "metadata")


class ScheduleFilter(Filter):
    """Which schedules to list."""

    entity: ClassVar[Any] = Schedule
    name: Annotated[ShortText | None, Matches(partial(holds_text, Schedule.name))] = Field(
        None, description="Schedules whose name contains this text, ignoring case."
    )
    tag: Annotated[Tag | None, Matches(lambda tag: has_member(Schedule.tags, literal(tag, Text)))] = Field(
        None, description="Schedules with this tag."
    )
    celery_task_name: ShortText | None = Field(None, description="Schedules that make this task.")
    paused: bool | None = Field(None, description="Schedules that are paused, or that are not.")
    user_id: Whose = Field(None, description=WHOSE)


_COLUMNS = Schedule.__table__.c
# The newest first.
SCHEDULES = Listing(
    Schedule,
    Schedule.id,
    size=sum((octet_length(_COLUMNS[name]) for name in _LARGE_COLUMNS), start=literal(_FIXED_BYTES, Integer)),
)


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
