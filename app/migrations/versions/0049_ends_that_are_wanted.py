"""a trigger that tells webhooks of the ends that are wanted, and of no others"""

from collections.abc import Sequence

from alembic import op

from app.core.engines import MYSQL, POSTGRESQL, SQLITE
from app.migrations.changes import execute_for_engine, repeatable

revision: str = "0049"
down_revision: str | None = "0048"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_NAME, _FUNCTION = "tasks_end_wanted", "tasks_tell_wanted_end"
_BIT = "CASE NEW.status WHEN 'succeeded' THEN 256 WHEN 'failed' THEN 512 WHEN 'revoked' THEN 1024 END"
_IS_WANTED = f"""NEW.followers >= 256 AND (NEW.followers & 1) = 0
    AND OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL
    AND (NEW.followers & {_BIT}) <> 0"""
_COLUMNS = ("generation", "version", "finished_at", "task_type", "celery_task_name", "tags", "webhook_url")
_TELL = f"""INSERT INTO task_outbox (consumer, task_id, user_id, event, {", ".join(_COLUMNS)})
        VALUES (0, NEW.id, NEW.user_id, NEW.status, {", ".join(f"NEW.{name}" for name in _COLUMNS)});"""  # noqa: S608 # nosec B608
_CREATE_FUNCTION = f"""
CREATE FUNCTION {_FUNCTION}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {_TELL}
    RETURN NULL;
END
$$
"""
_OF_POSTGRESQL = f"""
CREATE TRIGGER {_NAME} AFTER UPDATE OF status ON tasks
    FOR EACH ROW WHEN ({_IS_WANTED})
    EXECUTE FUNCTION {_FUNCTION}()
"""
_OF_MYSQL = f"""CREATE TRIGGER {_NAME} AFTER UPDATE ON tasks FOR EACH ROW
IF {_IS_WANTED} THEN
    {_TELL}
END IF"""
_OF_SQLITE = f"""CREATE TRIGGER {_NAME} AFTER UPDATE OF status ON tasks
WHEN {_IS_WANTED}
BEGIN
    {_TELL}
END"""


@repeatable()
def upgrade() -> None:
    execute_for_engine(
        {POSTGRESQL: [_CREATE_FUNCTION, _OF_POSTGRESQL], MYSQL: [_OF_MYSQL], SQLITE: [_OF_SQLITE]}
    )  # fmt: skip


@repeatable()
def downgrade() -> None:
    drop = f"DROP TRIGGER {_NAME}"
    execute_for_engine(
        {POSTGRESQL: [f"{drop} ON tasks", f"DROP FUNCTION {_FUNCTION}()"], MYSQL: [drop], SQLITE: [drop]}
    )  # fmt: skip
    # Told of each event again. The tasks last: theirs are many rows.
    for table in ("users", "tasks"):
        op.execute(f"UPDATE {table} SET followers = (followers & 255) | 1 WHERE followers >= 256")  # noqa: S608 # nosec B608 (constants)
