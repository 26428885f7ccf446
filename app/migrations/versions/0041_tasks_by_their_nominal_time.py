"""an index of a schedule's tasks by their nominal times"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

from app.core.engines import MYSQL, POSTGRESQL, SQLITE
from app.migrations.changes import create_index, execute_for_engine, repeatable

revision: str = "0041"
down_revision: str | None = "0040"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_NAME = "ix_tasks_scheduled_for"
_TIME = {
    POSTGRESQL: """((metadata ->> 'scheduled_for') COLLATE "C")""",
    SQLITE: "json_extract(metadata, '$.scheduled_for')",
    MYSQL: "scheduled_for",
}
# Of MySQL and MariaDB, which index no expression, and no part of the rows. It is not stored: no row is written.
_ADD_COLUMN = """ALTER TABLE tasks ADD COLUMN scheduled_for VARCHAR(32) AS (
    CASE WHEN schedule_id IS NOT NULL THEN left(json_unquote(json_extract(metadata, '$.scheduled_for')), 32) END
) VIRTUAL"""


@repeatable()
def upgrade() -> None:
    engine = op.get_bind().dialect.name
    execute_for_engine({POSTGRESQL: [], SQLITE: [], MYSQL: [_ADD_COLUMN]})
    where: dict[str, Any] = {} if engine == MYSQL else {f"{engine}_where": sa.text("schedule_id IS NOT NULL")}
    time = _TIME[engine] if engine == MYSQL else sa.text(_TIME[engine])
    create_index(_NAME, "tasks", ["schedule_id", time], **where)


@repeatable()
def downgrade() -> None:
    op.drop_index(_NAME, "tasks")
    execute_for_engine({POSTGRESQL: [], SQLITE: [], MYSQL: ["ALTER TABLE tasks DROP COLUMN scheduled_for"]})
