"""Writes the audit: one INSERT in the transaction of the recorded change, so that both are committed or neither is.

Records never contain secrets or typed names: users type passwords where a name belongs.
"""

import hashlib
import hmac
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.ids import new_id
from app.core.origin import Actor, current_origin
from app.models.audit import AuditOrigin, AuditRecord
from app.models.recorded_event import RecordedEvent
from app.models.schedule import Schedule
from app.models.task import Task
from app.services.audit.deeds import NEVER_REFUSED, deed_limits
from app.services.execution.attempts import current_attempt

MAX_NAME, MAX_OBJECT, MAX_ADDRESS, MAX_TEXT = 128, 128, 64, 200

_INSERT = insert(AuditRecord.__table__)  # type: ignore[arg-type]  # (a Table, declared as FromClause)


Detail = str | int | list[str]


class Subject(NamedTuple):
    """The object of a recorded action: `Subject("queue", name)`. Here are those that need more than their id."""

    kind: str
    id: str

    @classmethod
    def user(cls, user_id: UUID) -> "Subject":
        return cls("user", str(user_id))

    @classmethod
    def api_key(cls, key_id: UUID) -> "Subject":
        return cls("api_key", str(key_id))

    @classmethod
    def address(cls, address: str) -> "Subject":
        return cls("address", address)

    @classmethod
    def unknown_login(cls, typed: str, key: str) -> "Subject":
        """Return a keyed digest of an unknown name: equal names are equal, and the name cannot be looked up."""
        return cls("login", hmac.new(key.encode(), b"audit:" + typed.lower().encode(), hashlib.sha256).hexdigest()[:32])


def record(
    db: Session, event: RecordedEvent, subject: Subject, *, actor: Actor | None = None, **detail: Detail
) -> None:
    """Record an action on `subject` by `actor`, by default the user of the request. The caller commits.

    Outside HTTP there is no actor: the origin shows whether a task's body or other Python code acted. Raises
    TooManyDeeds if the user has caused too many records; then the caller's transaction is rolled back, and with it the
    action.
    """
    request, body = current_origin.get(), current_attempt.get()
    if request is None and body is not None:
        detail = {**detail, "by_task": str(body.task_id)}
    origin = AuditOrigin.HTTP if request else AuditOrigin.WORKER if body else AuditOrigin.PYTHON
    actor = actor or (request.actor if request else None)
    if request and actor and event not in NEVER_REFUSED:
        deed_limits.admit(str(actor.id), get_settings())
    values: dict[str, Any] = {
        "id": new_id(),
        "event": event.value,
        "origin": origin.value,
        "actor_id": actor.id if actor else None,
        "actor_name": actor.name[:MAX_NAME] if actor else None,
        "object_kind": subject.kind,
        "object_id": subject.id[:MAX_OBJECT],
        "address": request.address[:MAX_ADDRESS] if request and request.address else None,
        "request_id": request.request_id if request else None,
        "detail": {name: _short(value) for name, value in detail.items()},
    }
    db.execute(_INSERT, values)


def record_task(db: Session, event: RecordedEvent, task: Task, **detail: Detail) -> None:
    """Record an action on a task, with the data that is lost when the task is deleted."""
    subject = Subject("task", str(task.id))
    detail = {"owner": str(task.user_id), "celery_task_name": task.celery_task_name, **detail}
    record(db, event, subject, actor=None, **detail)


def record_schedule(db: Session, event: RecordedEvent, schedule: Schedule, **detail: Detail) -> None:
    """Record an action on a schedule, with the data that is lost when the schedule is deleted."""
    about = {"owner": str(schedule.user_id), "celery_task_name": schedule.celery_task_name}
    record(db, event, Subject("schedule", str(schedule.id)), actor=None, **about, **detail)


def _short(value: Detail) -> Detail:
    if isinstance(value, list):
        return [each[:MAX_TEXT] for each in value[:20]]
    return value[:MAX_TEXT] if isinstance(value, str) else value
