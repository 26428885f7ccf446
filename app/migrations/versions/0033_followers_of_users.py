"""what follows each new task of a user"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.migrations.changes import change_table, repeatable

revision: str = "0033"
down_revision: str | None = "0032"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


@repeatable()
def upgrade() -> None:
    op.add_column("users", sa.Column("followers", sa.SmallInteger))


@repeatable()
def downgrade() -> None:
    with change_table("users") as users:
        users.drop_column("followers")
