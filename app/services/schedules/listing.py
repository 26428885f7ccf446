"""Which schedules to list."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, Text, literal, select
from sqlalchemy.orm import Session

from app.db.statements.expressions import has_member, lower_case, position_in
from app.models.schedule import Schedule


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


def newest(db: Session, wanted: ScheduleFilter, limit: int, before: UUID | None) -> list[Schedule]:
    """Return schedules, the newest first; `before` is the id behind which the page starts."""
    behind = [] if before is None else [Schedule.id < before]
    found = select(Schedule).where(*wanted.conditions(), *behind).order_by(Schedule.id.desc()).limit(limit)
    return list(db.scalars(found.execution_options(populate_existing=True)))
