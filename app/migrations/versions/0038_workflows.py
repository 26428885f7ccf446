"""workflows"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.ddl.clock import NOW
from app.ddl.columns import Id, JSONText, LongText, ShortText, UTCDateTime, Word
from app.migrations.changes import change_table, copy_grants, repeatable

revision: str = "0038"
down_revision: str | None = "0037"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


@repeatable()
def upgrade() -> None:
    op.add_column("tasks", sa.Column("workflow_id", Id))
    op.create_table(
        "workflows",
        sa.Column("id", Id, primary_key=True),
        sa.Column("user_id", Id, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("name", LongText, nullable=False),
        sa.Column("on_failure", Word, nullable=False, server_default="cancel"),
        sa.Column("status", Word),
        sa.Column("generation", sa.Integer, nullable=False, server_default="1"),
        sa.Column("created_at", UTCDateTime, nullable=False, server_default=NOW),
        sa.Column("finished_at", UTCDateTime),
        sa.CheckConstraint("on_failure IN ('cancel', 'continue')", name="on_failure"),
        sa.CheckConstraint("status IS NULL OR status IN ('succeeded', 'failed', 'revoked')", name="status"),
        sa.CheckConstraint("(status IS NULL) = (finished_at IS NULL)", name="finished"),
    )
    op.create_table(
        "workflow_nodes",
        sa.Column("workflow_id", Id, sa.ForeignKey("workflows.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("ref", ShortText, nullable=False),
        sa.Column("parents", JSONText, nullable=False),
        sa.Column("task_id", Id),
        sa.Column("status", Word, nullable=False, server_default="pending"),
        sa.Column("version", sa.Integer, nullable=False, server_default="1"),
        sa.UniqueConstraint("workflow_id", "ref", name="uq_workflow_nodes_ref"),
    )
    op.create_index("ix_workflows_user", "workflows", ["user_id", "id"])
    op.create_index("ix_workflow_nodes_task", "workflow_nodes", ["task_id"])
    op.create_index("ix_workflow_nodes_status", "workflow_nodes", ["workflow_id", "status"])
    for table in ("workflows", "workflow_nodes"):
        copy_grants("tasks", table)


@repeatable()
def downgrade() -> None:
    op.drop_table("workflow_nodes")
    op.drop_table("workflows")
    with change_table("tasks") as tasks:
        tasks.drop_column("workflow_id")
