"""what bodies of tasks emitted"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.ddl.columns import Id, JSONText, ShortText, UTCDateTime
from app.migrations.changes import copy_grants, repeatable

revision: str = "0040"
down_revision: str | None = "0039"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


@repeatable()
def upgrade() -> None:
    op.create_table(
        "task_output",
        sa.Column("task_id", Id, sa.ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("stream", ShortText, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("at", UTCDateTime, nullable=False),
        sa.Column("chunk", JSONText, nullable=False),
        sa.Column("bytes", sa.Integer, nullable=False),
    )
    copy_grants("task_logs", "task_output")


@repeatable()
def downgrade() -> None:
    # `tasks.attached_bytes` still counts it, until the tasks are deleted.
    op.drop_table("task_output")
