"""the beat that holds the lease of maintenance"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.ddl.columns import Id
from app.migrations.changes import change_table, repeatable

revision: str = "0046"
down_revision: str | None = "0045"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


@repeatable()
def upgrade() -> None:
    op.add_column("maintenance_lease", sa.Column("beat", Id))


@repeatable()
def downgrade() -> None:
    with change_table("maintenance_lease") as lease:
        lease.drop_column("beat")
