"""second factors"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.db.clock import NOW

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "second_factors",
        sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.Column("confirmed_at", sa.DateTime(timezone=True)),
        sa.Column("last_step", sa.BigInteger()),
    )
    owner = sa.ForeignKey("second_factors.user_id", ondelete="CASCADE")
    op.create_table(
        "recovery_codes",
        sa.Column("user_id", sa.Uuid(), owner, primary_key=True),
        sa.Column("digest", sa.LargeBinary(), primary_key=True),
    )


def downgrade() -> None:
    op.drop_table("recovery_codes")
    op.drop_table("second_factors")
