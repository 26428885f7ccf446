"""the build of a worker, and what must agree with other hosts as it found it at its start"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.ddl.columns import JSONText, ShortText
from app.migrations.changes import repeatable

revision: str = "0051"
down_revision: str | None = "0050"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


@repeatable()
def upgrade() -> None:
    op.add_column("worker_processes", sa.Column("build_id", ShortText))
    op.add_column("worker_processes", sa.Column("facts", JSONText))


@repeatable()
def downgrade() -> None:
    for name in ("build_id", "facts"):
        op.drop_column("worker_processes", name)
