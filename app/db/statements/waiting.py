"""Why pending tasks wait, for conditions and counts."""

from sqlalchemy import ColumnElement, and_, case, false, or_, true

from app.core.served_tasks import served_tasks
from app.ddl.waiting import WAITS_OF_MANY
from app.models.task import Held, Task, WaitingReason


def reason() -> ColumnElement[str]:
    """The reason of each pending task, by the workers as this process knows them now."""
    ready = case((_is_served(), WaitingReason.TURN.value), else_=WaitingReason.NO_WORKER.value)
    limited = dict.fromkeys((Held.USER.value, Held.LIMIT_KEY.value), WaitingReason.LIMIT.value)
    return case({"ready": ready, **limited}, value=WAITS_OF_MANY, else_=WAITS_OF_MANY)


def _is_served() -> ColumnElement[bool]:
    groups = served_tasks().served()
    if groups is None:
        return true()
    queue, name = Task.__table__.c.queue, Task.__table__.c.celery_task_name
    served = [and_(queue.in_(queues), true() if names is None else name.in_(sorted(names))) for queues, names in groups]
    return or_(false(), *served)
