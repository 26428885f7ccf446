"""the rows of each user in the outbox, so that users take turns"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.core.engines import MYSQL
from app.migrations.changes import repeatable

revision: str = "0042"
down_revision: str | None = "0041"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_NAME, _TABLE = "ix_task_outbox_ready", "task_outbox"
_READY = sa.text("set_aside_at IS NULL")


@repeatable()
def upgrade() -> None:
    _index(["user_id", "id"])


@repeatable()
def downgrade() -> None:
    _index(["id"])


def _index(columns: list[str]) -> None:
    op.drop_index(_NAME, _TABLE)
    if op.get_bind().dialect.name == MYSQL:
        op.create_index(_NAME, _TABLE, ["consumer", "set_aside_at", *columns])
    else:
        op.create_index(_NAME, _TABLE, ["consumer", *columns], postgresql_where=_READY, sqlite_where=_READY)
