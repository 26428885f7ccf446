"""what happened when, and failures in groups

The fingerprints and the groups of failed tasks that are there are made from their rows, without the place in the code.
Meanwhile all access to `tasks` waits.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

from app.db.fingerprints import fingerprint_of
from app.db.indexes import OFTEN_UPDATED_ROWS, SHORT_LIVED_ROWS
from app.db.postgresql.schema import counts, first_counts, grants

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_KIND = ("task_type", "queue", "priority")
_FAILED = "error_fingerprint IS NOT NULL"
_CHANGES: dict[str, Any] = {
    "ended_at": sa.DateTime(timezone=True), "waited": sa.Float(), "ran": sa.Float(),
    "error": sa.Text(), "error_type": sa.Text(), "error_message": sa.Text(),
}  # fmt: skip
_TABLES = ("task_submissions", "task_stats", "task_durations", "error_groups", "error_times")


def upgrade() -> None:
    for name, kind in _CHANGES.items():
        op.add_column("task_count_changes", sa.Column(name, kind, nullable=True))
    _create_stats()
    _create_groups()
    for table in _TABLES:
        op.execute(grants.like("tasks", table))
    op.add_column("tasks", sa.Column("error_fingerprint", sa.Text(), nullable=True))
    _fill()
    op.create_check_constraint(
        "error_fingerprint", "tasks", "(status = 'failed') = (error_fingerprint IS NOT NULL)"
    )  # fmt: skip
    columns: list[Any] = ["error_fingerprint", sa.text("id DESC")]
    op.create_index("ix_tasks_error", "tasks", columns, postgresql_where=sa.text(_FAILED))
    for statement in (*counts.REMOVE, *counts.CREATE):
        op.execute(statement)


def _create_stats() -> None:
    at = sa.DateTime(timezone=True)
    op.create_table(
        "task_submissions",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("at", at, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in _KIND),
        sa.Column("number", sa.Integer(), nullable=False),
        **SHORT_LIVED_ROWS,
    )
    numbers: dict[str, list[Any]] = {
        "task_stats": [
            *(sa.Column(name, sa.Text(), primary_key=True) for name in _KIND),
            *(
                sa.Column(name, sa.BigInteger(), nullable=False)
                for name in ("submitted", "succeeded", "failed", "revoked")
            ),
        ],
        "task_durations": [
            sa.Column("measure", sa.Text(), primary_key=True),
            sa.Column("bucket", sa.SmallInteger(), primary_key=True, autoincrement=False),
            sa.Column("number", sa.BigInteger(), nullable=False),
        ],
    }
    for table, columns in numbers.items():
        op.create_table(
            table,
            sa.Column("user_id", sa.Uuid(), primary_key=True),
            sa.Column("step_seconds", sa.Integer(), primary_key=True, autoincrement=False),
            sa.Column("at", at, primary_key=True),
            *columns,
            **OFTEN_UPDATED_ROWS,
        )
        op.create_index(f"ix_{table}_at", table, ["step_seconds", "at"])


def _create_groups() -> None:
    at = sa.DateTime(timezone=True)
    op.create_table(
        "error_groups",
        sa.Column("fingerprint", sa.Text(), primary_key=True),
        sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("celery_task_name", sa.Text(), nullable=False),
        sa.Column("error_type", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("first_seen", at, nullable=False),
        sa.Column("last_seen", at, nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), server_default="open", nullable=False),
        sa.Column("ignored_until", at, nullable=True),
        sa.Column("state_set_at", at, nullable=True),
        sa.CheckConstraint("state IN ('open', 'resolved', 'ignored')", name="state"),
        sa.CheckConstraint("ignored_until IS NULL OR state = 'ignored'", name="ignored_until"),
    )
    newest = [sa.text("last_seen DESC"), sa.text("fingerprint DESC")]
    op.create_index("ix_error_groups_user", "error_groups", ["user_id", *newest])
    op.create_index("ix_error_groups_seen", "error_groups", newest)
    op.create_table(
        "error_times",
        sa.Column("fingerprint", sa.Text(), primary_key=True),
        sa.Column("at", at, primary_key=True, index=True),
        sa.Column("number", sa.BigInteger(), nullable=False),
    )


def _fill() -> None:
    names = ("user_id", "celery_task_name", "error_type", "status", "error_fingerprint")
    tasks = sa.table("tasks", *map(sa.column, names))
    error_type = sa.func.coalesce(tasks.c.error_type, "")
    # Words with a digit in them are left out, as `app/core/error_keys.py` does.
    word = r"'[[:alnum:]_.+-]*\d[[:alnum:]_.+-]*'"
    key: sa.ColumnElement[str] = sa.literal_column(
        rf"E'\n' || regexp_replace(left(coalesce(error_message, ''), 500), {word}, '?', 'g')"
    )
    fingerprint = fingerprint_of(tasks.c.user_id, tasks.c.celery_task_name, error_type, key)
    failed = tasks.c.status == sa.literal_column("'failed'")
    op.execute(sa.update(tasks).values(error_fingerprint=fingerprint).where(failed))
    op.execute(f"""
        INSERT INTO error_groups (
            fingerprint, user_id, celery_task_name, error_type, message, first_seen, last_seen, count
        )
        SELECT error_fingerprint, user_id, celery_task_name, coalesce(max(error_type), ''),
            left(max(error_message), 500), min(finished_at), max(finished_at), count(*)
        FROM tasks WHERE {_FAILED} GROUP BY error_fingerprint, user_id, celery_task_name
    """)  # noqa: S608 (constants)  # nosec B608


def downgrade() -> None:
    for statement in (*counts.REMOVE, *first_counts.WITH_BYTES):
        op.execute(statement)
    op.drop_column("tasks", "error_fingerprint")  # with its index and its check
    for table in _TABLES:
        op.drop_table(table)
    for name in _CHANGES:
        op.drop_column("task_count_changes", name)
