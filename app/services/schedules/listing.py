"""Which schedules to list, and a page of them."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, Integer, Text, literal
from sqlalchemy.orm import Session

from app.db.page import Page, bounded_page, bounded_rows
from app.db.statements.expressions import has_member, lower_case, octet_length, position_in
from app.models.schedule import Schedule

# What a schedule takes in an answer besides its task, tags and metadata: the names of all fields, ids, times, a name.
_FIXED_BYTES = 1600
_LARGE = ("task", "tags", "metadata")


@dataclass(frozen=True)
class ScheduleFilter:
    """Which schedules to list; None leaves a field out. `name` is a part of the name, ignoring case."""

    user_id: UUID | None = None
    name: str | None = None
    tag: str | None = None
    celery_task_name: str | None = None
    paused: bool | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        found: list[ColumnElement[bool]] = []
        if self.user_id is not None:
            found.append(Schedule.user_id == self.user_id)
        if self.name:
            found.append(position_in(lower_case(Schedule.name), lower_case(literal(self.name, Text))) > 0)
        if self.tag:
            found.append(has_member(Schedule.tags, literal(self.tag, Text)))
        if self.celery_task_name is not None:
            found.append(Schedule.celery_task_name == self.celery_task_name)
        if self.paused is not None:
            found.append(Schedule.paused == self.paused)
        return found


def page(db: Session, wanted: ScheduleFilter, limit: int, before: UUID | None) -> Page[Schedule, UUID]:
    """Return a page of schedules, the newest first; `before` is the id behind which it starts.

    It ends at MAX_PAGE_BYTES, with one schedule at least: the database reads no further.
    """
    columns = Schedule.__table__.c
    size = sum((octet_length(columns[name]) for name in _LARGE), start=literal(_FIXED_BYTES, Integer))
    behind = [] if before is None else [columns.id < before]
    conditions = [*wanted.conditions(), *behind]
    found = bounded_rows(Schedule, columns.id, size, *conditions, limit=limit + 1, falling=True)
    rows = db.execute(found.execution_options(populate_existing=True)).all()
    return bounded_page(rows, limit, lambda schedule: schedule.id)
