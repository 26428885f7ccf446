"""the tasks that a bulk deed was accepted for, where they were selected one by one"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.ddl.columns import Bytes
from app.migrations.changes import change_table, repeatable

revision: str = "0027"
down_revision: str | None = "0026"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


@repeatable()
def upgrade() -> None:
    op.add_column("bulk_deeds", sa.Column("selected", Bytes))


@repeatable()
def downgrade() -> None:
    with change_table("bulk_deeds") as deeds:
        deeds.drop_column("selected")
