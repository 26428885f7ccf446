"""the quota of running tasks: rows that wait for a place of their user, and such places"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.db.postgresql.schema import limits, waiting

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_HELD = "held IS NULL OR status = 'pending' AND held IN ({})"


def upgrade() -> None:
    op.add_column("tasks", sa.Column("user_limited", sa.Boolean(), nullable=True))
    _check_held("'user', 'limit', 'limit_key', 'name'")
    waiting_rows = sa.text("status = 'pending' AND turn IS NOT NULL AND held = 'user'")
    columns = ["user_id", "queue", "priority", "turn", "id"]
    op.create_index("ix_tasks_held_users", "tasks", columns, postgresql_where=waiting_rows)
    _key_of_places("task_id", "attempt", "limit_name")
    _functions(*limits.CREATE, *waiting.CREATE)


def downgrade() -> None:
    op.execute("""UPDATE tasks SET held = CASE WHEN "limit" IS NOT NULL THEN 'limit' END WHERE held = 'user'""")
    op.execute(sa.text("DELETE FROM limit_places WHERE limit_name = :name").bindparams(name="@user"))
    _functions(*limits.FIRST, *waiting.WITH_LIMITS)
    _key_of_places("task_id", "attempt")
    op.drop_index("ix_tasks_held_users", "tasks")
    _check_held("'limit', 'limit_key', 'name'")
    op.drop_column("tasks", "user_limited")


def _functions(*create: str) -> None:
    op.execute("DROP TRIGGER tasks_limited ON tasks")
    for statement in (*limits.DROP, *waiting.DROP, *create):
        op.execute(statement)


def _check_held(kinds: str) -> None:
    op.drop_constraint(op.f("ck_tasks_held"), "tasks")
    op.create_check_constraint("held", "tasks", _HELD.format(kinds))


def _key_of_places(*columns: str) -> None:
    op.drop_constraint(op.f("pk_limit_places"), "limit_places")
    op.create_primary_key(op.f("pk_limit_places"), "limit_places", list(columns))
