"""which schedule has made a task"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

from app.core.engines import MYSQL, POSTGRESQL, SQLITE
from app.ddl.columns import Id
from app.migrations.changes import change_table, repeatable

revision: str = "0029"
down_revision: str | None = "0028"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


@repeatable()
def upgrade() -> None:
    op.add_column("tasks", sa.Column("schedule_id", Id))
    if op.get_bind().dialect.name == MYSQL:
        op.create_index("ix_tasks_schedule", "tasks", ["schedule_id", "id"])
    else:
        condition = sa.text("schedule_id IS NOT NULL")
        partial: dict[str, Any] = {f"{engine}_where": condition for engine in (POSTGRESQL, SQLITE)}
        op.create_index("ix_tasks_schedule", "tasks", ["schedule_id", sa.text("id DESC")], **partial)


@repeatable()
def downgrade() -> None:
    op.drop_index("ix_tasks_schedule", "tasks")
    with change_table("tasks") as tasks:
        tasks.drop_column("schedule_id")
