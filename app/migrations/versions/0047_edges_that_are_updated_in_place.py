"""an index of the edges by their parents alone: an edge that is closed keeps its entry"""

from collections.abc import Sequence

from alembic import op

from app.core.engines import MYSQL, POSTGRESQL, SQLITE
from app.migrations.changes import create_index, execute_for_engine, repeatable

revision: str = "0047"
down_revision: str | None = "0046"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_TABLE = "task_dependencies"
_OLD, _NEW = "ix_task_dependencies_parent", "ix_task_dependencies_parents"


def _alter(change: str) -> None:
    execute_for_engine({POSTGRESQL: [f"ALTER TABLE {_TABLE} {change}"], SQLITE: [], MYSQL: []})


@repeatable()
def upgrade() -> None:
    _alter("SET (fillfactor = 60)")
    create_index(_NEW, _TABLE, ["parent_id"])
    op.drop_index(_OLD, _TABLE)


@repeatable()
def downgrade() -> None:
    op.create_index(_OLD, _TABLE, ["parent_id", "is_open"])
    op.drop_index(_NEW, _TABLE)
    _alter("RESET (fillfactor)")
