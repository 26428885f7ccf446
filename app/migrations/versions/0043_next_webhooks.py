"""an index of the webhooks that become due"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.migrations.changes import create_index, repeatable

revision: str = "0043"
down_revision: str | None = "0042"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_NAME, _TABLE = "ix_webhook_deliveries_next", "webhook_deliveries"
_PENDING = sa.text("next_attempt_at IS NOT NULL")


@repeatable()
def upgrade() -> None:
    columns = ["next_attempt_at", "lane"]
    create_index(_NAME, _TABLE, columns, postgresql_where=_PENDING, sqlite_where=_PENDING)


@repeatable()
def downgrade() -> None:
    op.drop_index(_NAME, _TABLE)
