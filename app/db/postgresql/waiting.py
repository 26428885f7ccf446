"""Why pending tasks wait, for conditions and counts."""

from sqlalchemy import ColumnElement, Text, and_, any_, case, false, literal, literal_column, or_, true

from app.core.served_tasks import served_tasks
from app.db.postgresql.schema.types import TextList
from app.db.postgresql.schema.waiting import WAITS_OF_MANY
from app.models.task import Held, Task, WaitingReason

_WAITS = literal_column(f"({WAITS_OF_MANY})", Text)


def reason() -> ColumnElement[str]:
    """The reason of each pending task, by the workers as this process knows them now."""
    ready = case((_is_served(), WaitingReason.TURN.value), else_=WaitingReason.NO_WORKER.value)
    limited = dict.fromkeys((Held.USER.value, Held.LIMIT_KEY.value), WaitingReason.LIMIT.value)
    return case({"ready": ready, **limited}, value=_WAITS, else_=_WAITS)


def _is_served() -> ColumnElement[bool]:
    groups = served_tasks().served()
    if groups is None:
        return true()
    queue, name = Task.__table__.c.queue, Task.__table__.c.celery_task_name
    served = [
        and_(
            queue == any_(literal(queues, TextList)),
            true() if names is None else name == any_(literal(sorted(names), TextList)),
        )
        for queues, names in groups
    ]
    return or_(false(), *served)
