"""keys of batches: an idempotency key may name the tasks of a batch"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("idempotency_keys", sa.Column("task_ids", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("idempotency_keys", "task_ids")
