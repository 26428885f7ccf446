"""the endpoints of webhooks, and the deliveries to them"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.ddl.clock import NOW
from app.ddl.columns import Bytes, Id, JSONText, LongText, ShortText, TextList, UTCDateTime, Word
from app.migrations.changes import copy_grants, repeatable

revision: str = "0030"
down_revision: str | None = "0029"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_DELIVERY_INDEXES = {
    "due": ["lane", "next_attempt_at", "id"],
    "endpoint": ["endpoint_id", "id"],
    "task": ["task_id", "id"],
    "user": ["user_id", "bytes"],
}


@repeatable()
def upgrade() -> None:
    op.create_table(
        "webhook_endpoints",
        sa.Column("id", Id, primary_key=True),
        sa.Column("user_id", Id, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("url", LongText, nullable=False),
        sa.Column("events", TextList, nullable=False),
        *(sa.Column(f"filter_{name}", ShortText) for name in ("task_type", "tag", "celery_task_name")),
        sa.Column("enabled", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column("disabled_at", UTCDateTime),
        sa.Column("disabled_reason", Word),
        sa.Column("description", LongText),
        sa.Column("secret", Bytes, nullable=False),
        sa.Column("old_secret", Bytes),
        sa.Column("old_secret_until", UTCDateTime),
        sa.Column("failing_since", UTCDateTime),
        sa.Column("created_at", UTCDateTime, nullable=False, server_default=NOW),
        sa.Column("updated_at", UTCDateTime, nullable=False, server_default=NOW),
        sa.CheckConstraint("disabled_reason IN ('gone', 'failing')", name="disabled_reason"),
    )
    op.create_index("ix_webhook_endpoints_user", "webhook_endpoints", ["user_id", "id"])
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", Id, primary_key=True),
        sa.Column("user_id", Id, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("endpoint_id", Id),
        sa.Column("task_id", Id),
        sa.Column("event_id", Id, nullable=False),
        sa.Column("type", ShortText, nullable=False),
        sa.Column("event_at", UTCDateTime, nullable=False),
        sa.Column("generation", sa.Integer),
        sa.Column("url", LongText),
        sa.Column("body", Bytes),
        sa.Column("state", Word, nullable=False, server_default="pending"),
        sa.Column("attempts", JSONText, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
        sa.Column("lane", Id),
        sa.Column("next_attempt_at", UTCDateTime),
        sa.Column("created_at", UTCDateTime, nullable=False, server_default=NOW),
        sa.Column("bytes", sa.BigInteger, nullable=False, server_default="1024"),
        sa.CheckConstraint("state IN ('pending', 'delivered', 'failed', 'dropped')", name="state"),
        sa.CheckConstraint("(state = 'pending') = (next_attempt_at IS NOT NULL)", name="pending_is_due"),
        sa.CheckConstraint("(state = 'pending') = (lane IS NOT NULL)", name="pending_has_lane"),
    )
    for name, columns in _DELIVERY_INDEXES.items():
        op.create_index(f"ix_webhook_deliveries_{name}", "webhook_deliveries", columns)
    for table in ("webhook_endpoints", "webhook_deliveries"):
        copy_grants("tasks", table)


@repeatable()
def downgrade() -> None:
    op.drop_table("webhook_deliveries")
    op.drop_table("webhook_endpoints")
