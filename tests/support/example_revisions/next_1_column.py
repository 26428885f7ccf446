"""a column of a table that is in use, and its index"""

import sqlalchemy as sa
from alembic import op

from app.ddl.columns import ShortText
from app.migrations.changes import change_table, create_index, repeatable

revision = "next_1"
down_revision = "HEAD"


@repeatable()
def upgrade() -> None:
    op.add_column("tasks", sa.Column("reference", ShortText, nullable=True))
    create_index("ix_tasks_reference", "tasks", ["user_id", "reference"])


@repeatable()
def downgrade() -> None:
    op.drop_index("ix_tasks_reference", "tasks")
    with change_table("tasks") as tasks:
        tasks.drop_column("reference")
