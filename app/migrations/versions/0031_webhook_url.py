"""the URL of a task that is told of its end"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.ddl.columns import LongText
from app.migrations.changes import change_table, repeatable

revision: str = "0031"
down_revision: str | None = "0030"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


@repeatable()
def upgrade() -> None:
    op.add_column("tasks", sa.Column("webhook_url", LongText))


@repeatable()
def downgrade() -> None:
    with change_table("tasks") as tasks:
        tasks.drop_column("webhook_url")
