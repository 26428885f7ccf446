"""the bytes that each user keeps

The sums are filled from the rows of ended tasks. Meanwhile all access to `tasks` waits. Tasks from before this
migration count without their names, tags, metadata and attempts.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.db.postgresql.schema import counts, first_counts, grants
from app.db.sizes import ENDED_TASKS, task_bytes

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

ENDED = "finished_at IS NOT NULL"


def upgrade() -> None:
    op.add_column("tasks", sa.Column("attached_bytes", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("task_count_changes", sa.Column("bytes", sa.BigInteger(), server_default="0", nullable=False))
    op.create_table(
        "stored_bytes",
        sa.Column("user_id", sa.Uuid(), primary_key=True),
        sa.Column("kind", sa.Text(), primary_key=True),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
    )
    op.execute(grants.like("tasks", "stored_bytes"))
    for statement in (*counts.REMOVE, *first_counts.WITH_BYTES, *counts.CREATE_FOLDING):
        op.execute(statement)
    sums = f"SELECT user_id, '{ENDED_TASKS}', sum({task_bytes('tasks')}) FROM tasks WHERE {ENDED} GROUP BY user_id"  # noqa: S608 (constants)  # nosec B608
    op.execute(f"INSERT INTO stored_bytes (user_id, kind, bytes) {sums}")
    op.create_index("ix_tasks_ended", "tasks", ["user_id", "finished_at"], postgresql_where=sa.text(ENDED))
    op.drop_index("ix_tasks_finished", "tasks")


def downgrade() -> None:
    op.create_index("ix_tasks_finished", "tasks", ["finished_at"], postgresql_where=sa.text(ENDED))
    op.drop_index("ix_tasks_ended", "tasks")
    op.execute("DROP TRIGGER task_count_changes_folded ON task_count_changes")
    for statement in (*counts.REMOVE, *counts.DROP_FOLDING, *first_counts.CREATE):
        op.execute(statement)
    op.drop_table("stored_bytes")
    op.drop_column("task_count_changes", "bytes")
    op.drop_column("tasks", "attached_bytes")
