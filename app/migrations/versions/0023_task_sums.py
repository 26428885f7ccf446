"""sums by task and queue since the beginning, for /metrics"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.core.engines import MYSQL, POSTGRESQL, SQLITE
from app.ddl.columns import Double, ShortText, Word
from app.migrations.changes import change_table, copy_grants, execute_for_engine, repeatable

revision: str = "0023"
down_revision: str | None = "0022"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_NUMBERS = ("sent", "succeeded", "failed", "revoked", "retried")
# A new version of a row fits into the same page.
_OFTEN_UPDATED = {"fillfactor": 50}


@repeatable()
def upgrade() -> None:
    # First what may have to wait for a lock, so that nothing is half done then.
    op.add_column("task_submissions", sa.Column("celery_task_name", ShortText))
    execute_for_engine(_CREATE)
    op.create_table(
        "task_sums",
        *_pair(),
        *(sa.Column(name, sa.BigInteger, nullable=False, server_default="0") for name in _NUMBERS),
        postgresql_with=_OFTEN_UPDATED,
    )
    op.create_table(
        "task_sum_durations",
        *_pair(),
        sa.Column("measure", Word, primary_key=True),
        sa.Column("bucket", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("seconds", Double, nullable=False),
        postgresql_with=_OFTEN_UPDATED,
    )
    for table in ("task_sums", "task_sum_durations"):
        copy_grants("task_counts", table)


@repeatable()
def downgrade() -> None:
    execute_for_engine(_DROP)
    op.drop_table("task_sum_durations")
    op.drop_table("task_sums")
    with change_table("task_submissions") as table:
        table.drop_column("celery_task_name")


def _pair() -> list[sa.Column[str]]:
    return [sa.Column(name, ShortText, primary_key=True) for name in ("celery_task_name", "queue")]


_COLUMNS = "user_id, status, task_type, celery_task_name, priority, queue"
# With the number 0, which maintenance counts as a retry.
_COUNT = f"""INSERT INTO task_count_changes ({_COLUMNS}, number, bytes)
    SELECT {_COLUMNS}, 0, 0 FROM tasks WHERE id = NEW.task_id AND due_at IS NOT NULL;"""  # noqa: S608 (constants)  # nosec B608
_TRIED_AGAIN = "NEW.outcome IN ('retried', 'worker_lost')"
_CREATE = {
    POSTGRESQL: (
        f"""
CREATE FUNCTION task_attempts_count_retry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {_COUNT}
    RETURN NULL;
END
$$
""",
        f"""
CREATE TRIGGER task_attempts_retried AFTER INSERT ON task_attempts FOR EACH ROW
    WHEN ({_TRIED_AGAIN}) EXECUTE FUNCTION task_attempts_count_retry()
""",
    ),
    MYSQL: (
        f"""CREATE TRIGGER task_attempts_retried AFTER INSERT ON task_attempts FOR EACH ROW
IF {_TRIED_AGAIN} THEN
    {_COUNT}
END IF""",
    ),
    SQLITE: (
        f"""CREATE TRIGGER task_attempts_retried AFTER INSERT ON task_attempts WHEN {_TRIED_AGAIN}
BEGIN
    {_COUNT}
END""",
    ),
}
_DROP = {
    POSTGRESQL: (
        "DROP TRIGGER task_attempts_retried ON task_attempts",
        "DROP FUNCTION task_attempts_count_retry()",
    ),
    MYSQL: ("DROP TRIGGER task_attempts_retried",),
    SQLITE: ("DROP TRIGGER task_attempts_retried",),
}
