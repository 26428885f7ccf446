"""an index of the webhooks that one of the same task waits for"""

from collections.abc import Sequence

from alembic import op

from app.migrations.changes import repeatable

revision: str = "0034"
down_revision: str | None = "0033"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_NAME, _TABLE = "ix_webhook_deliveries_before", "webhook_deliveries"


@repeatable()
def upgrade() -> None:
    op.create_index(_NAME, _TABLE, ["task_id", "lane", "tries", "generation"])


@repeatable()
def downgrade() -> None:
    op.drop_index(_NAME, _TABLE)
