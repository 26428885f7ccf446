"""the wait of a task whose attempt was lost or handed back begins with the end of that attempt"""

from collections.abc import Sequence

from alembic import op

from app.db.postgresql.schema import counts

revision: str = "0017"
down_revision: str | None = "0016"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.execute(counts.REPLACE)


def downgrade() -> None:
    """The function goes with the schema before as well."""
