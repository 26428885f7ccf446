"""whether the leader of maintenance is a beat"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.migrations.changes import change_table, repeatable

revision: str = "0046"
down_revision: str | None = "0045"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


@repeatable()
def upgrade() -> None:
    op.add_column("maintenance_lease", sa.Column("held_by_beat", sa.Boolean, nullable=False, server_default=sa.false()))


@repeatable()
def downgrade() -> None:
    with change_table("maintenance_lease") as lease:
        lease.drop_column("held_by_beat")
