"""Writing the audit: one INSERT within the transaction of what it records, so that both are committed or neither is.

Never a secret in it, nor what somebody typed: people type passwords where a name belongs.
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
from app.models.audit import AuditEvent, AuditRecord
from app.models.task import Task
from app.services.execution.attempts import current_attempt

MAX_NAME, MAX_OBJECT, MAX_ADDRESS, MAX_TEXT = 128, 128, 64, 200

_INSERT = insert(AuditRecord.__table__)  # type: ignore[arg-type]  # (a Table, declared as FromClause)


Detail = str | int | list[str]


class Subject(NamedTuple):
    """What it was done to."""

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
    def unknown_login(cls, typed: str) -> "Subject":
        """Of a name that nobody has a keyed digest: equal ones are seen to be equal, and no table leads back."""
        key = get_settings().signing_key.encode()
        return cls("login", hmac.new(key, b"audit:" + typed.lower().encode(), hashlib.sha256).hexdigest()[:32])


def record(db: Session, event: AuditEvent, subject: Subject, *, actor: Actor | None = None, **detail: Detail) -> None:
    """Say that this was done to `subject`, by `actor` or else by whoever makes the request. The caller commits it.

    Outside of HTTP there is no actor: the origin tells whether a task's body or other Python code did it.
    """
    request, body = current_origin.get(), current_attempt.get()
    if request is None and body is not None:
        detail = {**detail, "by_task": str(body.task_id)}
    actor = actor or (request.actor if request else None)
    values: dict[str, Any] = {
        "id": new_id(),
        "event": event.value,
        "origin": "http" if request else "worker" if body else "python",
        "actor_id": actor.id if actor else None,
        "actor_name": actor.name[:MAX_NAME] if actor else None,
        "object_kind": subject.kind,
        "object_id": subject.id[:MAX_OBJECT],
        "address": request.address[:MAX_ADDRESS] if request and request.address else None,
        "request_id": request.request_id if request else None,
        "detail": {name: _short(value) for name, value in detail.items()},
    }
    db.execute(_INSERT, values)


def record_task(db: Session, event: AuditEvent, task: Task, **detail: Detail) -> None:
    """The same of a task, with what nobody could look up any more once it is deleted."""
    subject = Subject("task", str(task.id))
    told: dict[str, Detail] = {"owner": str(task.user_id), "celery_task_name": task.celery_task_name, **detail}
    record(db, event, subject, actor=None, **told)


def _short(value: Detail) -> Detail:
    if isinstance(value, list):
        return [each[:MAX_TEXT] for each in value[:20]]
    return value[:MAX_TEXT] if isinstance(value, str) else value
