"""where a login comes from"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.ddl.columns import short_text
from app.migrations.changes import change_table, repeatable

revision: str = "0023"
down_revision: str | None = "0022"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


@repeatable()
def upgrade() -> None:
    op.add_column("login_sessions", sa.Column("address", short_text(64)))
    op.add_column("login_sessions", sa.Column("user_agent", short_text(256)))


@repeatable()
def downgrade() -> None:
    with change_table("login_sessions") as logins:
        logins.drop_column("user_agent")
        logins.drop_column("address")
