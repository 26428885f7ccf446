"""tasks that depend on others"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.core.engines import MYSQL, POSTGRESQL, SQLITE
from app.ddl.columns import Id, JSONText
from app.migrations.changes import change_table, copy_grants, execute_for_engine, repeatable

revision: str = "0037"
down_revision: str | None = "0036"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_BEFORE = ("user", "limit", "limit_key", "name")
_SHOWN_BEFORE = ("limit", "limit_key", "user")


@repeatable()
def upgrade() -> None:
    op.add_column("tasks", sa.Column("depends_on", JSONText))
    op.create_table(
        "task_dependencies",
        sa.Column("child_id", Id, sa.ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("parent_id", Id, primary_key=True),
        sa.Column("goes_on", sa.Boolean, nullable=False),
        sa.Column("is_open", sa.Boolean, nullable=False),
    )
    op.create_index("ix_task_dependencies_parent", "task_dependencies", ["parent_id", "is_open"])
    copy_grants("task_logs", "task_dependencies")
    _hold((*_BEFORE, "dependency"), ("dependency", *_SHOWN_BEFORE))


@repeatable()
def downgrade() -> None:
    # The release before would never start them.
    op.execute("UPDATE tasks SET held = NULL, due_at = created_at WHERE held = 'dependency'")
    _hold(_BEFORE, _SHOWN_BEFORE)
    op.drop_table("task_dependencies")
    with change_table("tasks") as tasks:
        tasks.drop_column("depends_on")


def _hold(kinds: Sequence[str], shown: Sequence[str]) -> None:
    """Have tasks held by these kinds, and show these as the reason why they wait."""
    with change_table("tasks") as tasks:
        tasks.drop_constraint(op.f("ck_tasks_held"), type_="check")
        listed = ", ".join(map(repr, kinds))
        tasks.create_check_constraint(
            op.f("ck_tasks_held"), f"held IS NULL OR status = 'pending' AND held IN ({listed})"
        )
    execute_for_engine({POSTGRESQL: [_WAITS_FOR.format(held=", ".join(map(repr, shown)))], MYSQL: [], SQLITE: []})


_WAITS_FOR = """CREATE OR REPLACE FUNCTION waits_for(run_at timestamptz, failures integer, queue text, held text)
RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN CASE
    WHEN waits_for.run_at > statement_timestamp() THEN CASE WHEN waits_for.failures > 0 THEN 'retry' ELSE 'schedule' END
    WHEN EXISTS (
        SELECT 1 FROM claim_holds AS hold WHERE hold.kind = 'queue' AND hold.name = waits_for.queue
    ) THEN 'paused'
    WHEN waits_for.held IN ({held}) THEN waits_for.held
    ELSE 'ready'
END;
END
$$"""
