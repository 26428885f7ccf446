"""claim holds: paused queues and draining workers, which no claim passes; what workers tell of themselves"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

from app.db.clock import NOW
from app.db.postgresql.schema import grants, holds, waiting

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "claim_holds",
        sa.Column("kind", sa.Text(), primary_key=True),
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("since", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("held_by", sa.Uuid(), sa.ForeignKey("users.id", ondelete="SET NULL"), nullable=True),
        sa.CheckConstraint("kind IN ('queue', 'worker')", name="kind"),
    )
    # Before the trigger, which reads the table with the privileges of whoever claims.
    op.execute(grants.like("tasks", "claim_holds"))
    op.add_column("worker_processes", sa.Column("task_names", ARRAY(sa.Text()), nullable=True))
    op.add_column("worker_processes", sa.Column("processed", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("worker_processes", sa.Column("version", sa.Text(), nullable=True))
    op.add_column("worker_processes", sa.Column("memory_bytes", sa.BigInteger(), nullable=True))
    for statement in (*holds.CREATE, *waiting.FIRST):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TRIGGER tasks_held ON tasks")
    for statement in (*holds.DROP, *waiting.DROP_FIRST):
        op.execute(statement)
    for column in ("memory_bytes", "version", "processed", "task_names"):
        op.drop_column("worker_processes", column)
    op.drop_table("claim_holds")
