"""Which schedules to list, and a page of them."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, Integer, Text, func, literal, or_, select
from sqlalchemy.orm import Session

from app.db.page import MAX_PAGE_BYTES, Page
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
    chosen = select(columns.id, size.label("bytes")).where(*wanted.conditions(), *behind)
    first = chosen.order_by(columns.id.desc()).limit(limit + 1).subquery()
    through = func.sum(first.c.bytes).over(order_by=first.c.id.desc())
    found = select(first, through.label("through"), func.count().over().label("all")).subquery()
    fits = or_(found.c.through <= MAX_PAGE_BYTES, found.c.through == found.c.bytes)
    rows = select(Schedule, found.c.all).join(found, columns.id == found.c.id).where(fits).order_by(columns.id.desc())
    read = db.execute(rows.limit(limit).execution_options(populate_existing=True)).all()
    is_last = not read or read[0][1] <= len(read)
    return Page([row[0] for row in read], None if is_last else read[-1][0].id)
