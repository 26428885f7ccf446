"""when a content that the storage would not delete is tried again"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.ddl.columns import UTCDateTime
from app.migrations.changes import repeatable

revision: str = "0045"
down_revision: str | None = "0044"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


@repeatable()
def upgrade() -> None:
    op.add_column("files", sa.Column("delete_after", UTCDateTime))


@repeatable()
def downgrade() -> None:
    op.drop_column("files", "delete_after")
