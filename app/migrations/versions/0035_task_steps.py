"""the steps that bodies of tasks have done"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.ddl.columns import Id, JSONText, ShortText, UTCDateTime
from app.migrations.changes import copy_grants, repeatable

revision: str = "0035"
down_revision: str | None = "0034"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


@repeatable()
def upgrade() -> None:
    op.create_table(
        "task_steps",
        sa.Column("task_id", Id, sa.ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("name", ShortText, primary_key=True),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("user_id", Id, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("started_at", UTCDateTime, nullable=False),
        sa.Column("finished_at", UTCDateTime, nullable=False),
        sa.Column("bytes", sa.Integer, nullable=False),
        sa.Column("result", JSONText),
    )
    op.create_index("ix_task_steps_user", "task_steps", ["user_id", "bytes"])
    copy_grants("task_logs", "task_steps")


@repeatable()
def downgrade() -> None:
    op.drop_table("task_steps")
