"""the name of the Celery task in the row of a submit"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.ddl.columns import ShortText
from app.migrations.changes import change_table, repeatable

revision: str = "0025"
down_revision: str | None = "0024"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


@repeatable()
def upgrade() -> None:
    op.add_column("task_submissions", sa.Column("celery_task_name", ShortText))


@repeatable()
def downgrade() -> None:
    with change_table("task_submissions") as table:
        table.drop_column("celery_task_name")
