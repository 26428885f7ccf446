"""no index of the nodes by their status: one that is noted keeps its entries"""

from collections.abc import Sequence

from alembic import op

from app.core.engines import MYSQL, POSTGRESQL, SQLITE
from app.migrations.changes import execute_for_engine, repeatable

revision: str = "0048"
down_revision: str | None = "0047"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_TABLE, _NAME = "workflow_nodes", "ix_workflow_nodes_status"


def _alter(change: str) -> None:
    execute_for_engine({POSTGRESQL: [f"ALTER TABLE {_TABLE} {change}"], SQLITE: [], MYSQL: []})


@repeatable()
def upgrade() -> None:
    _alter("SET (fillfactor = 60)")
    op.drop_index(_NAME, _TABLE)


@repeatable()
def downgrade() -> None:
    op.create_index(_NAME, _TABLE, ["workflow_id", "status"])
    _alter("RESET (fillfactor)")
