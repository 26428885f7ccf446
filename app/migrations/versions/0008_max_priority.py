"""the highest priority that a user may give to tasks"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("users", sa.Column("max_priority", sa.Text(), server_default="critical", nullable=False))
    op.create_check_constraint("max_priority", "users", "max_priority IN ('low', 'normal', 'high', 'critical')")


def downgrade() -> None:
    op.drop_column("users", "max_priority")  # and its check
