"""What to list or count, and the conditions that it puts on rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, case, literal, literal_column, select, text

from app.models.task import ODD_ID, Task, TaskPriority, TaskStatus
from app.models.task_count import KIND

# How far an id's time may be from `created_at`; further ones are in `ix_tasks_odd_ids`.
ID_SLACK = timedelta(seconds=61)
FIRST_ID, LAST_ID = UUID(int=0), UUID(int=2**128 - 1)
_MAX_MS = 2**48 - 1
# Made once: it takes SQLAlchemy a millisecond.
_OTHER = Task.__table__.alias("other")


@dataclass(frozen=True)
class TaskFilter:
    """What to list or count; None and empty mean «any»."""

    user_id: UUID | None = None
    status: Sequence[TaskStatus] = ()
    task_type: str | None = None
    celery_task_name: str | None = None
    priority: TaskPriority | None = None
    queue: str | None = None
    tag: Sequence[str] = ()
    name: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None

    def conditions(self, *, status: bool = True) -> list[ColumnElement[bool]]:
        """All of it; without `status` the rest."""
        states = [Task.status.in_(sorted(set(self.status)))] if status and self.status else []
        return [*self.owner(), *states, *self.kind(), *self.of_rows(), *self.id_bounds()]

    def owner(self) -> list[ColumnElement[bool]]:
        return [] if self.user_id is None else [Task.user_id == self.user_id]

    def kind(self) -> list[ColumnElement[bool]]:
        return [Task.__table__.c[name] == value for name in KIND if (value := getattr(self, name)) is not None]

    def of_rows(self) -> list[ColumnElement[bool]]:
        """What no number is kept by, and no index is sorted by."""
        found: list[ColumnElement[bool]] = []
        if self.tag:
            # The second condition is the index's own: tasks without tags are not in it.
            found += [Task.tags.contains(list(self.tag)), Task.tags != literal_column("'{}'", Task.tags.type)]
        if self.name:
            found.append(Task.name.icontains(self.name, autoescape=True))
        if self.created_after is not None:
            found.append(Task.created_at > self.created_after)
        if self.created_before is not None:
            found.append(Task.created_at < self.created_before)
        return found

    def id_bounds(self) -> list[ColumnElement[bool]]:
        """What the times of creation mean for ids: wider than what was asked for, and an index can use it."""
        found: list[ColumnElement[bool]] = []
        if self.created_after is not None:
            found.append(Task.id >= self.id_at(self.created_after, -1, no_bound=FIRST_ID))
        if self.created_before is not None:
            found.append(Task.id <= self.id_at(self.created_before, 1, no_bound=LAST_ID))
        return found

    def id_at(self, moment: datetime, direction: int, *, no_bound: UUID) -> ColumnElement[UUID]:
        """The id of that time, with slack towards the future (1) or the past (-1).

        `no_bound` where this user has ids that a wrong clock has made.
        """
        milliseconds = int((moment.timestamp() + direction * ID_SLACK.total_seconds()) * 1000)
        rest = (1 << 80) - 1 if direction > 0 else 0
        bound = UUID(int=(min(max(milliseconds, 0), _MAX_MS) << 80) + rest)
        odd = select(_OTHER.c.id).where(text(ODD_ID))
        if self.user_id is not None:
            odd = odd.where(_OTHER.c.user_id == self.user_id)
        return select(case((odd.exists(), literal(no_bound)), else_=literal(bound))).scalar_subquery()
