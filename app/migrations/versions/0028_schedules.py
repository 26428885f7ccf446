"""schedules, and what became of their times"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

from app.core.engines import MYSQL
from app.ddl.clock import NOW
from app.ddl.columns import (
    Double,
    EmptyJsonObject,
    EmptyTextList,
    Id,
    JsonObject,
    JSONText,
    LongText,
    ShortText,
    TextList,
    UTCDateTime,
    Word,
)
from app.migrations.changes import copy_grants, repeatable

revision: str = "0028"
down_revision: str | None = "0027"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


@repeatable()
def upgrade() -> None:
    op.create_table(
        "schedules",
        sa.Column("id", Id, primary_key=True),
        sa.Column("user_id", Id, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("name", LongText, nullable=False),
        sa.Column("task", JSONText, nullable=False),
        sa.Column("celery_task_name", ShortText, nullable=False),
        sa.Column("cron", LongText),
        sa.Column("every_seconds", Double),
        sa.Column("timezone", ShortText, nullable=False),
        sa.Column("start_at", UTCDateTime),
        sa.Column("end_at", UTCDateTime),
        sa.Column("jitter_seconds", Double, nullable=False, server_default="0"),
        sa.Column("overlap", Word, nullable=False, server_default="skip"),
        sa.Column("catch_up", Word, nullable=False, server_default="latest"),
        sa.Column("catch_up_seconds", Double, nullable=False, server_default="3600"),
        sa.Column("paused", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("pause_reason", LongText),
        sa.Column("resumed_at", UTCDateTime),
        sa.Column("tags", TextList, nullable=False, server_default=EmptyTextList()),
        sa.Column("metadata", JsonObject, nullable=False, server_default=EmptyJsonObject()),
        sa.Column("done_until", UTCDateTime, nullable=False),
        sa.Column("next_run_at", UTCDateTime),
        sa.Column("due_at", UTCDateTime),
        sa.Column("held_for", UTCDateTime),
        sa.Column("tzdata", Word, nullable=False),
        sa.Column("last_run_at", UTCDateTime),
        sa.Column("last_task_id", Id),
        sa.Column("runs", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("skipped", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("version", sa.Integer, nullable=False, server_default="1"),
        sa.Column("created_at", UTCDateTime, nullable=False, server_default=NOW),
        sa.Column("updated_at", UTCDateTime, nullable=False, server_default=NOW),
        sa.CheckConstraint("(cron IS NULL) <> (every_seconds IS NULL)", name="timing"),
        sa.CheckConstraint("overlap IN ('skip', 'allow', 'buffer_one', 'cancel_running')", name="overlap"),
        sa.CheckConstraint("catch_up IN ('none', 'latest', 'all')", name="catch_up"),
    )
    op.create_table(
        "schedule_runs",
        sa.Column("schedule_id", Id, sa.ForeignKey("schedules.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("scheduled_for", UTCDateTime, primary_key=True),
        sa.Column("kind", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("task_id", Id),
        sa.Column("skipped", Word),
        sa.Column("count", sa.Integer),
        sa.Column("until", UTCDateTime),
        sa.Column("by_backfill", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("is_open", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("created_at", UTCDateTime, nullable=False, server_default=NOW),
        sa.CheckConstraint("(task_id IS NULL) <> (skipped IS NULL)", name="task"),
        sa.CheckConstraint("kind BETWEEN 0 AND 2", name="kind"),
    )
    _create_indexes()
    for table in ("schedules", "schedule_runs"):
        copy_grants("tasks", table)


@repeatable()
def downgrade() -> None:
    op.drop_table("schedule_runs")
    op.drop_table("schedules")


def _create_indexes() -> None:
    op.create_index("ix_schedules_user", "schedules", ["user_id", "id"])
    op.create_index("ix_schedules_due", "schedules", ["due_at"])
    op.create_index("ix_schedule_runs_task", "schedule_runs", ["task_id"])
    op.create_index("ix_schedule_runs_created", "schedule_runs", ["created_at"])
    if op.get_bind().dialect.name == MYSQL:
        op.create_index("ix_schedules_held", "schedules", ["held_for"])
        op.create_index("ix_schedule_runs_open", "schedule_runs", ["schedule_id", "is_open"])
        return
    held = sa.text("held_for IS NOT NULL")
    op.create_index("ix_schedules_held", "schedules", ["held_for"], postgresql_where=held, sqlite_where=held)
    # SQLite uses it only for the very words of the condition.
    is_open: dict[str, Any] = {"postgresql_where": sa.text("is_open"), "sqlite_where": sa.text("is_open = 1")}
    op.create_index("ix_schedule_runs_open", "schedule_runs", ["schedule_id"], **is_open)
