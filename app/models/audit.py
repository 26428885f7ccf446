"""The audit: who did what, when, from where. Rows are added and never changed; the database sees to that.

Nothing here points at another table: users and tasks get deleted, what was recorded of them stays.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import DDL, CheckConstraint, Index, String, event, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.ids import new_id
from app.db.base import Base, JSONText

MAX_DETAIL = 4096


class AuditEvent(StrEnum):
    """What is recorded. A name is for ever: old rows keep it."""

    LOGIN_SUCCEEDED = "login.succeeded"
    LOGIN_FAILED = "login.failed"
    # Once for each account or address and window: from here on its logins are refused until the window is over.
    LOGIN_THROTTLED = "login.throttled"
    TOKEN_REPLAYED = "token.replayed"  # noqa: S105 (no password)
    LOGOUT = "logout"
    SESSION_ENDED = "session.ended"
    PASSWORD_CHANGED = "password.changed"  # noqa: S105 (no password)
    USER_REGISTERED = "user.registered"
    USER_CREATED = "user.created"
    USER_PROFILE_CHANGED = "user.profile_changed"
    USER_ROLE_CHANGED = "user.role_changed"
    USER_ACTIVATED = "user.activated"
    USER_DEACTIVATED = "user.deactivated"
    USER_DELETED = "user.deleted"
    ACCESS_DENIED = "access.denied"
    TASK_CANCELLED = "task.cancelled"
    TASK_RETRIED = "task.retried"
    TASK_DELETED = "task.deleted"
    TASK_STATE_SET = "task.state_set"
    API_KEY_CREATED = "api_key.created"
    API_KEY_REVOKED = "api_key.revoked"
    API_KEY_USED = "api_key.used"


class AuditRecord(Base):
    __tablename__ = "audit_events"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    event: Mapped[str] = mapped_column(String(64))
    # `http`, `worker` (a task's body) or `python` (a command, a script, the service's own start).
    origin: Mapped[str] = mapped_column(String(16))
    actor_id: Mapped[UUID | None]
    actor_name: Mapped[str | None] = mapped_column(String(128))
    object_kind: Mapped[str] = mapped_column(String(32))
    object_id: Mapped[str] = mapped_column(String(128))
    address: Mapped[str | None] = mapped_column(String(64))
    request_id: Mapped[str | None] = mapped_column(String(64))
    detail: Mapped[dict[str, Any]] = mapped_column(JSONText, server_default="{}")

    __table_args__ = (
        CheckConstraint(f"octet_length(detail) <= {MAX_DETAIL}", name="detail"),
        # Each filter with the order of a page behind it.
        Index("ix_audit_events_at", text("at DESC"), text("id DESC")),
        Index("ix_audit_events_event", "event", text("at DESC"), text("id DESC")),
        Index("ix_audit_events_actor", "actor_id", text("at DESC"), text("id DESC")),
        Index("ix_audit_events_object", "object_id", text("at DESC"), text("id DESC")),
    )


# For each statement, not for each row: an UPDATE that matches nothing is refused as well, and so is the UPDATE of an
# INSERT … ON CONFLICT that conflicts with nothing.
APPEND_ONLY_FUNCTION = """
CREATE FUNCTION audit_events_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit_events is append-only: no %', TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$
"""
APPEND_ONLY_TRIGGER = """
CREATE TRIGGER audit_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION audit_events_append_only()
"""
# Else `SET session_replication_role = replica` would pass it by.
APPEND_ONLY_ALWAYS = "ALTER TABLE audit_events ENABLE ALWAYS TRIGGER audit_events_append_only"
# The owner's own privileges as well.
APPEND_ONLY_PRIVILEGES = "REVOKE UPDATE, DELETE, TRUNCATE ON audit_events FROM CURRENT_USER, PUBLIC"

# The trigger goes with its table.
DROP_APPEND_ONLY = "DROP FUNCTION IF EXISTS audit_events_append_only()"

for _statement in (APPEND_ONLY_FUNCTION, APPEND_ONLY_TRIGGER, APPEND_ONLY_ALWAYS, APPEND_ONLY_PRIVILEGES):
    # DDL() formats with %: the message's own % sign is doubled.
    event.listen(AuditRecord.__table__, "after_create", DDL(_statement.replace("%", "%%")))  # type: ignore[no-untyped-call]
event.listen(AuditRecord.__table__, "after_drop", DDL(DROP_APPEND_ONLY))  # type: ignore[no-untyped-call]
