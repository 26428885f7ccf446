"""the task that a task repeats with changes"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0016"
down_revision: str | None = "0015"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("tasks", sa.Column("retry_of", sa.Uuid(), nullable=True))


def downgrade() -> None:
    op.drop_column("tasks", "retry_of")
