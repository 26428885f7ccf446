"""bulk deeds: cancel, retry and delete many tasks, and the tasks that are still to be done"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.db.clock import NOW
from app.db.postgresql.schema import grants

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "bulk_deeds",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("deed", sa.Text(), nullable=False),
        sa.Column("as_admin", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("within_quota", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("state", sa.Text(), server_default="running", nullable=False),
        sa.Column("matched", sa.Integer(), server_default="0", nullable=False),
        sa.Column("done", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("skipped", sa.Text(), server_default="{}", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("deed IN ('cancel', 'retry', 'delete')", name="deed"),
        sa.CheckConstraint("state IN ('running', 'finished', 'aborted')", name="state"),
        sa.CheckConstraint("(state = 'running') = (finished_at IS NULL)", name="finished_at"),
    )
    op.create_index("ix_bulk_deeds_state", "bulk_deeds", ["state", "user_id", "created_at"])
    op.create_index("ix_bulk_deeds_user", "bulk_deeds", ["user_id"])
    op.create_table(
        "bulk_batches",
        sa.Column("deed_id", sa.Uuid(), sa.ForeignKey("bulk_deeds.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True),
        sa.Column("task_ids", sa.LargeBinary(), nullable=False),
    )
    for table in ("bulk_deeds", "bulk_batches"):
        op.execute(grants.like("tasks", table))


def downgrade() -> None:
    op.drop_table("bulk_batches")
    op.drop_table("bulk_deeds")
