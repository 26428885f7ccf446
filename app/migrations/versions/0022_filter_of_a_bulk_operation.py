"""the filter of a bulk operation"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.ddl.columns import JSONText
from app.migrations.changes import change_table, repeatable

revision: str = "0022"
down_revision: str | None = "0021"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


@repeatable()
def upgrade() -> None:
    op.add_column("bulk_deeds", sa.Column("filter", JSONText))


@repeatable()
def downgrade() -> None:
    with change_table("bulk_deeds") as deeds:
        deeds.drop_column("filter")
