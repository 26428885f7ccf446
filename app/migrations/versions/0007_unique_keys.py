"""unique keys: at most one task of a user that has not ended has a key

Access to `tasks` waits while its rows are read twice, for the CHECKs and for the index.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

ACTIVE_KEY = """
    CASE WHEN unique_key IS NULL OR finished_at IS NOT NULL THEN active_key IS NULL
    ELSE active_key IS NOT NULL AND active_key = unique_key END
"""


def upgrade() -> None:
    for name in ("unique_key", "on_conflict", "active_key"):
        op.add_column("tasks", sa.Column(name, sa.Text(), nullable=True))
    op.create_check_constraint("on_conflict", "tasks", "on_conflict IN ('reject', 'return', 'replace')")
    op.create_check_constraint("active_key", "tasks", ACTIVE_KEY)
    present = sa.text("active_key IS NOT NULL")
    op.create_index("uq_tasks_active_key", "tasks", ["user_id", "active_key"], unique=True, postgresql_where=present)


def downgrade() -> None:
    op.drop_index("uq_tasks_active_key", "tasks")
    op.drop_constraint(op.f("ck_tasks_active_key"), "tasks")
    op.drop_constraint(op.f("ck_tasks_on_conflict"), "tasks")
    for name in ("active_key", "on_conflict", "unique_key"):
        op.drop_column("tasks", name)
