"""ids of the outbox that are not used again, and an index of the rows that are not set aside"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.core.engines import MYSQL
from app.migrations.changes import change_table, repeatable

revision: str = "0020"
down_revision: str | None = "0019"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


@repeatable()
def upgrade() -> None:
    with change_table("task_outbox", sqlite_autoincrement=True):
        """Anew, as it was."""
    if op.get_bind().dialect.name == MYSQL:
        op.create_index("ix_task_outbox_ready", "task_outbox", ["consumer", "set_aside_at", "id"])
    else:
        ready = sa.text("set_aside_at IS NULL")
        columns = ["consumer", "id"]
        op.create_index("ix_task_outbox_ready", "task_outbox", columns, postgresql_where=ready, sqlite_where=ready)


@repeatable()
def downgrade() -> None:
    op.drop_index("ix_task_outbox_ready", "task_outbox")
    with change_table("task_outbox", sqlite_autoincrement=False):
        """Anew, as it was."""
