"""Why pending tasks wait, for conditions and counts."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, and_, case, false, or_, true

from app.core.served_tasks import served_tasks
from app.models.task import Held, Task, WaitingReason

# Whether a column's value is one of these.
IsOneOf = Callable[[Any, list[str]], ColumnElement[bool]]


def reason_by(waits: ColumnElement[str], is_one_of: IsOneOf) -> ColumnElement[str]:
    """The reason of each pending task, by the workers as this process knows them now. `waits`: as the row tells it."""
    ready = case((_is_served(is_one_of), WaitingReason.TURN.value), else_=WaitingReason.NO_WORKER.value)
    limited = dict.fromkeys((Held.USER.value, Held.LIMIT_KEY.value), WaitingReason.LIMIT.value)
    return case({"ready": ready, **limited}, value=waits, else_=waits)


def _is_served(is_one_of: IsOneOf) -> ColumnElement[bool]:
    groups = served_tasks().served()
    if groups is None:
        return true()
    queue, name = Task.__table__.c.queue, Task.__table__.c.celery_task_name
    served = [
        and_(is_one_of(queue, queues), true() if names is None else is_one_of(name, sorted(names)))
        for queues, names in groups
    ]
    return or_(false(), *served)
