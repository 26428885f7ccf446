"""The audit: who did what, when, from where. Rows are added and never changed: the database refuses a change.

No foreign key leads to another table: a record outlives the users and tasks that it names. What it records of an object
is an enumeration that stands with the object's model (`RecordedEvent`).
"""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, String
from sqlalchemy.orm import Mapped, mapped_column

from app.core.ids import new_id
from app.ddl import engines
from app.ddl.clock import NOW
from app.ddl.columns import Base, EmptyJsonObject, JSONText
from app.ddl.indexes import audit_indexes


class RecordedEvent(StrEnum):
    """The base of all events: one enumeration for each kind of object, which stands with its model.

    A value never changes: old rows keep it.
    """


def recorded_events() -> list[RecordedEvent]:
    """Return the events of all models, by their values."""
    return sorted(event for of_one in RecordedEvent.__subclasses__() for event in of_one)


MAX_DETAIL = 4096


class AuditEvent(RecordedEvent):
    """Those of logins, users, tasks, and of the audit itself."""

    LOGIN_SUCCEEDED = "login.succeeded"
    LOGIN_FAILED = "login.failed"
    # Once for each account or address: from here on its logins have to wait, longer with each failure.
    LOGIN_THROTTLED = "login.throttled"
    TOKEN_REPLAYED = "token.replayed"  # noqa: S105 (no password)
    LOGOUT = "logout"
    SESSION_ENDED = "session.ended"
    PASSWORD_CHANGED = "password.changed"  # noqa: S105 (no password)
    # By an administrator.
    PASSWORD_RESET = "password.reset"  # noqa: S105 (no password)
    SECOND_FACTOR_BEGUN = "second_factor.begun"
    SECOND_FACTOR_SET = "second_factor.set"
    SECOND_FACTOR_REMOVED = "second_factor.removed"
    # By an administrator.
    SECOND_FACTOR_RESET = "second_factor.reset"
    RECOVERY_CODE_USED = "recovery_code.used"
    USER_REGISTERED = "user.registered"
    USER_CREATED = "user.created"
    USER_PROFILE_CHANGED = "user.profile_changed"
    # A registration or a change of the own profile was refused, which tells that the name or the address is taken.
    USER_NAME_TAKEN = "user.name_taken"
    USER_ROLE_CHANGED = "user.role_changed"
    USER_MAX_PRIORITY_CHANGED = "user.max_priority_changed"
    USER_WEIGHT_CHANGED = "user.weight_changed"
    USER_ACTIVATED = "user.activated"
    USER_DEACTIVATED = "user.deactivated"
    USER_DELETED = "user.deleted"
    ACCESS_DENIED = "access.denied"
    # Once for each user and window: from here on what is recorded is refused until the window is over.
    DEEDS_THROTTLED = "deeds.throttled"
    # Records older than the named time were deleted.
    AUDIT_PRUNED = "audit.pruned"
    # Its fields `fields` were changed by a PATCH; a changed state has an event of its own.
    TASK_CHANGED = "task.changed"
    TASK_CANCELLED = "task.cancelled"
    TASK_RETRIED = "task.retried"
    TASK_RUN_NOW = "task.run_now"
    TASK_DELETED = "task.deleted"
    TASK_STATE_SET = "task.state_set"


class AuditOrigin(StrEnum):
    """Where an event comes from: a request, a running task, or Python code such as a command."""

    HTTP = "http"
    WORKER = "worker"
    PYTHON = "python"


class AuditRecord(Base):
    __tablename__ = "audit_events"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    at: Mapped[datetime] = mapped_column(server_default=NOW)
    event: Mapped[str] = mapped_column(String(64))
    # An `AuditOrigin`.
    origin: Mapped[str] = mapped_column(String(16))
    actor_id: Mapped[UUID | None]
    actor_name: Mapped[str | None] = mapped_column(String(128))
    object_kind: Mapped[str] = mapped_column(String(32))
    object_id: Mapped[str] = mapped_column(String(128))
    address: Mapped[str | None] = mapped_column(String(64))
    request_id: Mapped[str | None] = mapped_column(String(64))
    detail: Mapped[dict[str, Any]] = mapped_column(JSONText, server_default=EmptyJsonObject())

    __table_args__ = (CheckConstraint(f"octet_length(detail) <= {MAX_DETAIL}", name="detail"), *audit_indexes())


engines.install_triggers(AuditRecord.__table__, AuditRecord.__tablename__)
