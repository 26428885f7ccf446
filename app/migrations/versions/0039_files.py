"""files, artifacts, and what names them"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.ddl.clock import NOW
from app.ddl.columns import Id, ShortText, UTCDateTime, Word
from app.migrations.changes import copy_grants, repeatable

revision: str = "0039"
down_revision: str | None = "0038"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


@repeatable()
def upgrade() -> None:
    op.create_table(
        "files",
        sa.Column("id", Id, primary_key=True),
        sa.Column("user_id", Id, sa.ForeignKey("users.id", ondelete="SET NULL")),
        sa.Column("task_id", Id, sa.ForeignKey("tasks.id", ondelete="SET NULL")),
        sa.Column("attempt", sa.Integer),
        sa.Column("name", ShortText, nullable=False),
        sa.Column("content_type", ShortText, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("sha256", ShortText),
        sa.Column("state", Word, nullable=False, server_default="writing"),
        sa.Column("created_at", UTCDateTime, nullable=False, server_default=NOW),
        sa.Column("touched_at", UTCDateTime, nullable=False, server_default=NOW),
        sa.Column("expires_at", UTCDateTime),
        sa.CheckConstraint("state IN ('writing', 'held', 'partial', 'kept', 'dropped')", name="state"),
        sa.CheckConstraint("sha256 IS NOT NULL OR state IN ('writing', 'dropped')", name="sha256"),
    )
    op.create_table(
        "file_uses",
        sa.Column("file_id", Id, sa.ForeignKey("files.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("used_by", Id, primary_key=True),
    )
    op.create_index("ix_files_user", "files", ["user_id", "attempt", "id"])
    op.create_index("ix_files_listed", "files", ["attempt", "id"])
    op.create_index("ix_files_bytes", "files", ["user_id", "size"])
    op.create_index("ix_files_task", "files", ["task_id", "attempt"])
    op.create_index("ix_files_state", "files", ["state", "expires_at"])
    op.create_index("ix_file_uses_by", "file_uses", ["used_by"])
    for table in ("files", "file_uses"):
        copy_grants("tasks", table)


@repeatable()
def downgrade() -> None:
    op.drop_table("file_uses")
    op.drop_table("files")
