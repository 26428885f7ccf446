"""Endpoints that are told of events, and the deliveries to them (docs/adr/0057).

A delivery is a row for each event and receiver. It is pending until its receiver has taken it, or no attempt is left.
"""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.core.ids import new_id, time_of
from app.core.redacted_text import redact_text
from app.ddl.clock import NOW
from app.ddl.columns import Base, Bytes, JSONText, LongText, ShortText, TextList, Word, enum_check
from app.ddl.indexes import webhook_delivery_indexes
from app.models.audit import RecordedEvent

KEPT = timedelta(days=30)
# A delivery without its body: the row with its entries in the indexes, and what its updates leave behind.
DELIVERY_BYTES = 1024


class WebhookEvent(RecordedEvent):
    """What the audit records of endpoints."""

    CREATED = "webhook.created"
    # Its fields `fields` were changed by a PATCH.
    CHANGED = "webhook.changed"
    SECRET_ROTATED = "webhook.secret_rotated"  # noqa: S105 (no password)
    # The user's own, which signs what goes to the `webhook_url` of tasks.
    SECRET_READ = "webhook.secret_read"  # noqa: S105 (no password)
    DELETED = "webhook.deleted"
    # By the service, for the reason that stands beside it.
    DISABLED = "webhook.disabled"


class EventType(StrEnum):
    """What an endpoint can be told of."""

    TASK_SUCCEEDED = "task.succeeded"
    TASK_FAILED = "task.failed"
    TASK_REVOKED = "task.revoked"
    WORKFLOW_SUCCEEDED = "workflow.succeeded"
    WORKFLOW_FAILED = "workflow.failed"
    WORKFLOW_REVOKED = "workflow.revoked"
    SCHEDULE_SKIPPED = "schedule.skipped"


# The event of a test, which nobody subscribes to.
TEST_EVENT = "webhook.test"


class DisabledReason(StrEnum):
    """Why the service has disabled an endpoint."""

    GONE = "gone"
    """It has answered 410."""
    FAILING = "failing"
    """Nothing got through for five days."""


class DeliveryState(StrEnum):
    """`failed`: no attempt is left. `dropped`: its endpoint was disabled or deleted before."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    DROPPED = "dropped"


class WebhookEndpoint(Base):
    """A URL of a user that is told of events.

    The secrets are encrypted (`app/core/security.py`) with the endpoint's id as context. The old one signs beside the
    present one until its time is over.
    """

    __tablename__ = "webhook_endpoints"

    def __repr__(self) -> str:
        """Return what a row is about, with no secret of its URL; a value that is not loaded is not asked for."""
        known = self.__dict__
        return f"<WebhookEndpoint {known.get('id')} {redact_text(known.get('url', ''))!r}>"

    __table_args__ = (
        enum_check("disabled_reason", DisabledReason),
        sa.Index("ix_webhook_endpoints_user", "user_id", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"))
    url: Mapped[str] = mapped_column(LongText)
    events: Mapped[list[str]] = mapped_column(TextList)
    # All that are set must match.
    filter_task_type: Mapped[str | None] = mapped_column(ShortText)
    filter_tag: Mapped[str | None] = mapped_column(ShortText)
    filter_celery_task_name: Mapped[str | None] = mapped_column(ShortText)
    enabled: Mapped[bool] = mapped_column(server_default=sa.true())
    disabled_at: Mapped[datetime | None]
    disabled_reason: Mapped[str | None] = mapped_column(Word)
    description: Mapped[str | None]
    secret: Mapped[bytes] = mapped_column(Bytes)
    old_secret: Mapped[bytes | None] = mapped_column(Bytes)
    old_secret_until: Mapped[datetime | None]
    # The first failure since something got through.
    failing_since: Mapped[datetime | None]
    # Of its deliveries; NULL: its id. Another one each time it is enabled again, so that nothing of before is sent.
    lane: Mapped[UUID | None]

    @property
    def present_lane(self) -> UUID:
        """The lane of what is queued for it now."""
        return self.lane or self.id

    @property
    def enabled_again_at(self) -> datetime | None:
        """When it was enabled again last, which gave it the present lane. None: never."""
        return None if self.lane is None else datetime.fromtimestamp(time_of(self.lane), UTC)

    def is_sent(self, lane: UUID, recorded_at: datetime) -> bool:
        """Return whether a delivery of this lane is for it, enabled as it is.

        A leader of a release that knew no lanes records in that of its id, also once it is enabled again.
        """
        again = self.enabled_again_at
        return lane == self.present_lane or (again is not None and lane == self.id and recorded_at >= again)

    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    updated_at: Mapped[datetime] = mapped_column(server_default=NOW)

    @property
    def filter(self) -> dict[str, str | None]:
        """The filter as the API shows it."""
        return {
            "task_type": self.filter_task_type,
            "tag": self.filter_tag,
            "celery_task_name": self.filter_celery_task_name,
        }


PRESENT_LANE: sa.ColumnElement[UUID] = sa.func.coalesce(WebhookEndpoint.lane, WebhookEndpoint.id)


class ClosedLane(Base):
    """A lane of which nothing is to be sent any more, until maintenance has dropped what is queued in it."""

    __tablename__ = "webhook_closed_lanes"

    lane: Mapped[UUID] = mapped_column(primary_key=True)
    endpoint_id: Mapped[UUID]


class WebhookRecovery(Base):
    """A wish to have sent again what an endpoint has missed. Maintenance works it off in batches, and deletes it.

    It is for the deliveries with ids behind `after`, which moves on with each batch, up to `until`.
    """

    __tablename__ = "webhook_recoveries"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    endpoint_id: Mapped[UUID] = mapped_column(sa.ForeignKey("webhook_endpoints.id", ondelete="CASCADE"))
    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"))
    # NULL: only what waits for another attempt.
    since: Mapped[datetime | None]
    after: Mapped[UUID]
    until: Mapped[UUID]


class WebhookDelivery(Base):
    """One event for one receiver: an endpoint, or the `webhook_url` of a task. It outlives both.

    `lane` and `next_attempt_at` are set while it is pending, and NULL from then on, so that the index of the sender
    holds what is pending alone. A sender that takes it moves `next_attempt_at` behind the end of its request: if the
    process dies, it is due again by itself.
    """

    __tablename__ = "webhook_deliveries"

    def __repr__(self) -> str:
        """Return what a row is about; a value that is not loaded is not asked for."""
        known = self.__dict__
        return f"<WebhookDelivery {known.get('id')} {known.get('type')} {known.get('state')}>"

    __table_args__ = (
        enum_check("state", DeliveryState),
        sa.CheckConstraint("(state = 'pending') = (next_attempt_at IS NOT NULL)", name="pending_is_due"),
        sa.CheckConstraint("(state = 'pending') = (lane IS NOT NULL)", name="pending_has_lane"),
        *webhook_delivery_indexes(),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"))
    # No foreign keys: the row outlives the endpoint, the task and the schedule. NULL for the `webhook_url` of a task.
    endpoint_id: Mapped[UUID | None]
    task_id: Mapped[UUID | None]
    schedule_id: Mapped[UUID | None]
    # Of the event, the same for all receivers: the header `webhook-id`.
    event_id: Mapped[UUID]
    type: Mapped[str] = mapped_column(ShortText)
    # When the event was, and what is needed to tell that the task is still as it was then.
    event_at: Mapped[datetime]
    generation: Mapped[int | None] = mapped_column(sa.Integer)
    # Of a task's own; that of an endpoint is read with each attempt.
    url: Mapped[str | None] = mapped_column(LongText)
    # What is sent, the same bytes each time. NULL until the first attempt reads the task, or the schedule.
    body: Mapped[bytes | None] = mapped_column(Bytes)
    state: Mapped[str] = mapped_column(Word, server_default=DeliveryState.PENDING.value)
    attempts: Mapped[list[dict[str, Any]]] = mapped_column(JSONText)
    # Since it was queued, by its event, a redelivery or a recovery: the place in the schedule of retries.
    tries: Mapped[int] = mapped_column(sa.Integer, server_default="0")
    # What goes to one receiver, and has at most so many requests at once.
    lane: Mapped[UUID | None]
    next_attempt_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    bytes: Mapped[int] = mapped_column(sa.BigInteger, server_default=str(DELIVERY_BYTES))
