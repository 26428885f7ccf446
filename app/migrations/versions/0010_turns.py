"""turns: the order in which pending tasks start, fair to their users"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.db.indexes import SHORT_LIVED_ROWS
from app.db.postgresql.schema import grants

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("users", sa.Column("weight", sa.Integer(), nullable=False, server_default="1"))
    op.create_check_constraint("weight", "users", "weight BETWEEN 1 AND 100")
    op.add_column("tasks", sa.Column("turn", sa.Float(), nullable=True))
    op.create_check_constraint("turn", "tasks", "turn IS NULL OR status = 'pending'")
    op.drop_index("ix_tasks_dispatched", "tasks")
    op.drop_index("ix_tasks_due", "tasks")
    op.drop_column("tasks", "dispatched_at")
    op.alter_column("tasks", "dispatch_at", new_column_name="due_at")
    op.execute("ALTER TABLE tasks RENAME CONSTRAINT ck_tasks_pending_has_dispatch TO ck_tasks_pending_is_due")
    op.drop_column("maintenance_lease", "broker_epoch")
    op.create_table(
        "claimed_turns",
        sa.Column("queue", sa.Text(), primary_key=True),
        sa.Column("priority", sa.Text(), primary_key=True),
        sa.Column("turn", sa.Float(), primary_key=True),
        **SHORT_LIVED_ROWS,
    )
    op.execute(grants.like("tasks", "claimed_turns"))
    op.create_table(
        "user_turns",
        sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("queue", sa.Text(), primary_key=True),
        sa.Column("priority", sa.Text(), primary_key=True),
        sa.Column("last", sa.Float(), nullable=False),
        sa.Column("clock", sa.Float(), nullable=False),
        postgresql_with={"fillfactor": 50},
    )
    op.execute(grants.like("tasks", "user_turns"))
    ready = sa.text("status = 'pending' AND turn IS NOT NULL")
    op.create_index("ix_tasks_ready", "tasks", ["queue", "priority", "turn", "id"], postgresql_where=ready)
    unplaced = sa.text("status = 'pending' AND turn IS NULL")
    op.create_index("ix_tasks_unplaced", "tasks", ["due_at"], postgresql_where=unplaced)


def downgrade() -> None:
    op.drop_index("ix_tasks_unplaced", "tasks")
    op.drop_index("ix_tasks_ready", "tasks")
    op.add_column("maintenance_lease", sa.Column("broker_epoch", sa.Text(), nullable=True))
    op.execute("ALTER TABLE tasks RENAME CONSTRAINT ck_tasks_pending_is_due TO ck_tasks_pending_has_dispatch")
    op.alter_column("tasks", "due_at", new_column_name="dispatch_at")
    op.add_column("tasks", sa.Column("dispatched_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_tasks_due", "tasks", ["dispatch_at"], postgresql_where=sa.text("status = 'pending'"))
    out = sa.text("status = 'pending' AND dispatched_at IS NOT NULL")
    op.create_index("ix_tasks_dispatched", "tasks", ["queue", "priority", "dispatched_at"], postgresql_where=out)
    op.drop_table("user_turns")
    op.drop_table("claimed_turns")
    op.drop_column("tasks", "turn")  # and its check
    op.drop_column("users", "weight")  # and its check
