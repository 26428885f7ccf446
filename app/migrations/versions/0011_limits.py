"""limits on how many tasks run or start, and rows that no claim may take"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.db.clock import NOW
from app.db.indexes import SHORT_LIVED_ROWS
from app.db.postgresql.schema import grants, limits, waiting

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_BOUNDS = ("concurrency", "concurrency_per_key", "rate_count", "rate_per_key_count")
_READY = "status = 'pending' AND turn IS NOT NULL"


def upgrade() -> None:
    _create_limits()
    _create_places()
    for column in ("limit", "limit_key", "held"):
        op.add_column("tasks", sa.Column(column, sa.Text(), nullable=True))
    op.create_check_constraint(
        "held", "tasks", "held IS NULL OR status = 'pending' AND held IN ('limit', 'limit_key', 'name')"
    )
    op.drop_index("ix_tasks_ready", "tasks")
    _index("ix_tasks_ready", ["queue", "priority", "turn", "id"], f"{_READY} AND held IS NULL")
    _index("ix_tasks_limited", ["limit", "user_id", "id"], """status = 'pending' AND "limit" IS NOT NULL""")
    _index("ix_tasks_admitted", ["limit", "id"], """status = 'pending' AND "limit" IS NOT NULL AND held IS NULL""")
    _index("ix_tasks_held", ["limit", "queue", "priority", "turn", "id"], f"{_READY} AND held = 'limit'")
    _index(
        "ix_tasks_held_keys",
        ["limit", "limit_key", "held", "queue", "priority", "turn", "id"],
        f"{_READY} AND held IS NOT NULL AND limit_key IS NOT NULL",
    )
    _index("ix_tasks_unknown", ["queue", "celery_task_name"], "status = 'pending' AND held = 'name'")
    for statement in (*limits.FIRST, *waiting.DROP_FIRST, *waiting.WITH_LIMITS):
        op.execute(statement)


def _create_limits() -> None:
    op.create_table(
        "limits",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("concurrency", sa.Integer(), nullable=True),
        sa.Column("concurrency_per_key", sa.Integer(), nullable=True),
        sa.Column("rate_count", sa.Integer(), nullable=True),
        sa.Column("rate_period_seconds", sa.Float(), nullable=True),
        sa.Column("rate_per_key_count", sa.Integer(), nullable=True),
        sa.Column("rate_per_key_period_seconds", sa.Float(), nullable=True),
        sa.Column("on_excess", sa.Text(), server_default="wait", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.CheckConstraint(f"coalesce({', '.join(_BOUNDS)}) IS NOT NULL", name="bound"),
        sa.CheckConstraint(" AND ".join(f"{name} BETWEEN 1 AND 10000" for name in _BOUNDS), name="counts"),
        sa.CheckConstraint(
            "(rate_count IS NULL) = (rate_period_seconds IS NULL)"
            " AND (rate_per_key_count IS NULL) = (rate_per_key_period_seconds IS NULL)"
            " AND rate_period_seconds > 0 AND rate_per_key_period_seconds > 0",
            name="rates",
        ),
        sa.CheckConstraint("on_excess IN ('wait', 'reject', 'cancel_oldest')", name="on_excess"),
    )
    op.execute(grants.like("tasks", "limits"))


def _create_places() -> None:
    op.create_table(
        "limit_places",
        sa.Column("task_id", sa.Uuid(), primary_key=True),
        sa.Column("attempt", sa.Integer(), primary_key=True),
        sa.Column("limit_name", sa.Text(), nullable=False),
        sa.Column("limit_key", sa.Text(), nullable=True),
        sa.Column("admitted_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("worker_id", sa.Uuid(), nullable=True),
        sa.Column("worker_pid", sa.Integer(), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        **SHORT_LIVED_ROWS,
    )
    op.create_index("ix_limit_places_limit", "limit_places", ["limit_name", "limit_key"])
    running = sa.text("worker_id IS NOT NULL AND ended_at IS NULL")
    op.create_index("ix_limit_places_worker", "limit_places", ["worker_id"], postgresql_where=running)
    op.execute(grants.like("tasks", "limit_places"))


def _index(name: str, columns: list[str], where: str) -> None:
    op.create_index(name, "tasks", columns, postgresql_where=sa.text(where))


def downgrade() -> None:
    op.execute("DROP TRIGGER tasks_limited ON tasks")
    for statement in (*limits.DROP, *waiting.DROP, *waiting.FIRST):
        op.execute(statement)
    for name in ("unknown", "held_keys", "held", "admitted", "limited", "ready"):
        op.drop_index(f"ix_tasks_{name}", "tasks")
    _index("ix_tasks_ready", ["queue", "priority", "turn", "id"], _READY)
    for column in ("held", "limit_key", "limit"):  # and the check
        op.drop_column("tasks", column)
    op.drop_table("limit_places")
    op.drop_table("limits")
