"""attempts that are tried again are counted by a trigger"""

from collections.abc import Sequence

from app.core.engines import MYSQL, POSTGRESQL, SQLITE
from app.migrations.changes import execute_for_engine, repeatable

revision: str = "0026"
down_revision: str | None = "0025"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


@repeatable()
def upgrade() -> None:
    execute_for_engine(_CREATE)


@repeatable()
def downgrade() -> None:
    execute_for_engine(_DROP)


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
