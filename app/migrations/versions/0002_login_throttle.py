"""waits that grow with each failed login, and the address blocks from which accounts have signed in"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.db.clock import NOW

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    # Nullable: processes of the code before go on counting in this table.
    op.add_column("login_failures", sa.Column("blocked_until", sa.DateTime(timezone=True)))
    op.create_table(
        "login_blocks",
        sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("block", sa.LargeBinary(), primary_key=True),
        sa.Column("signed_in_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
    )
    op.create_index(None, "login_blocks", ["signed_in_at"])


def downgrade() -> None:
    op.drop_table("login_blocks")
    op.drop_column("login_failures", "blocked_until")
