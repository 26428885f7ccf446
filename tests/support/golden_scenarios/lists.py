"""Pages and numbers of tasks, with each filter and with the combinations that make another statement."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.db.session import SessionLocal
from app.models.task import TaskPriority, TaskStatus, WaitingReason
from app.models.task_filter import TaskFilter
from app.services.task_service import task_service
from tests.support.golden_scenarios.stage import Stage, serve, settle
from tests.support.settings import sql
from tests.support.tasks import LONG_RUNNING, new_task, new_user, task_in

PENDING = [TaskStatus.PENDING]
ENDED = [TaskStatus.FAILED, TaskStatus.SUCCEEDED]
FINGERPRINT = "0" * 32
HOUR = timedelta(hours=1)
AFTER, BEFORE = datetime.now(UTC) - 24 * HOUR, datetime.now(UTC) + 24 * HOUR
DAYS = {"created_after": AFTER, "created_before": BEFORE}


def fields() -> Iterator[dict[str, Any]]:
    """Each field alone, and those together that make another statement."""
    yield from ({}, {"status": PENDING}, {"status": [TaskStatus.RUNNING, TaskStatus.FAILED]})
    kind = {"task_type": "test", "celery_task_name": LONG_RUNNING, "priority": TaskPriority.NORMAL, "queue": "default"}
    yield from ({name: value} for name, value in kind.items())
    yield from (kind | {"status": ENDED}, kind | {"status": PENDING})
    yield from ({"tag": ["a", "b"]}, {"name": "a_task"}, {"name": "x", "status": ENDED, "task_type": "test"})
    yield {"waiting_for": WaitingReason.TURN, "status": PENDING}
    yield from ({"error": FINGERPRINT}, {"error": FINGERPRINT, "task_type": "test"})
    for times in ({"created_after": AFTER}, {"created_before": BEFORE}, DAYS):
        yield from (times, times | {"status": ENDED})
    yield DAYS | {"task_type": "test"}


def some_fields() -> Iterator[dict[str, Any]]:
    """One of each kind of statement: for what differs from the others in the owner or in the columns alone."""
    yield from ({}, {"status": ENDED}, {"queue": "default"}, {"tag": ["a"], "name": "x"})
    yield from ({"waiting_for": WaitingReason.LIMIT, "status": PENDING}, {"error": FINGERPRINT}, DAYS)


def pages(_stage: Stage) -> None:
    """The first page, one after it, and one that skips; as they are shown and as objects."""
    user_id = _tasks()
    with SessionLocal() as db:
        for each in fields():
            task_service.show_page(db, TaskFilter(user_id=user_id, **each), 10)
        for each in some_fields():
            task_service.show_page(db, TaskFilter(**each), 10)
            task_service.list_page(db, TaskFilter(user_id=user_id, **each), 10)
        for wanted in (TaskFilter(), TaskFilter(user_id=user_id), TaskFilter(user_id=user_id, task_type="test")):
            page = task_service.show_page(db, wanted, 1)
            task_service.show_page(db, wanted, 1, before=page.last)
            task_service.show_page(db, wanted, 2, skip=1)
        task_service.show_page(db, TaskFilter(name="x"), 2, skip=1000)
        task_service.get_tasks(db, user_id, limit=3, skip=1)
        for owner in (None, user_id):
            task_service.longest_running(db, 5, owner=owner)


def counts(_stage: Stage) -> None:
    """By status and by reason."""
    user_id = _tasks()
    with SessionLocal() as db:
        for each in fields():
            task_service.show_counts(db, TaskFilter(user_id=user_id, **each))
        for each in some_fields():
            task_service.show_counts(db, TaskFilter(**each))
        for wanted in (TaskFilter(), TaskFilter(user_id=user_id, name="x")):
            task_service.show_counts(db, wanted, by_reason=True)
        _counts_within_times(db, user_id)


def _counts_within_times(db: Session, user_id: UUID) -> None:
    """Where most tasks lie within the time, those outside are counted; else those inside."""
    ages = sql("SELECT min(created_at) AS first, max(created_at) AS last FROM tasks")[0]
    for after in (ages.first - HOUR, ages.last + HOUR):
        for status in ((), PENDING, ENDED):
            wanted = TaskFilter(user_id=user_id, created_after=after, status=status)
            task_service.count(db, wanted)
            task_service.count(db, replace(wanted, created_before=after + 2 * HOUR))
    task_service.count(db, TaskFilter(user_id=new_user(db), created_after=ages.first))


def _tasks() -> UUID:
    """A user with a task in each state."""
    with SessionLocal() as db:
        serve(db)
        user_id = new_user(db)
        for status in TaskStatus:
            task_in(db, status, user_id, tags=["a"])
        new_task(db, user_id, delay_seconds=3600)
    settle()
    return user_id
