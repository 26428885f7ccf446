"""the task as the event has left it, in its row of the outbox"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

from app.core.engines import MYSQL, POSTGRESQL, SQLITE
from app.ddl.columns import LongText, ShortText, TextList, UTCDateTime
from app.migrations.changes import change_table, execute_for_engine, repeatable

revision: str = "0032"
down_revision: str | None = "0031"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_NEW = ("version", "finished_at", "task_type", "celery_task_name", "tags", "webhook_url")
_TYPES: tuple[Any, ...] = (sa.Integer, UTCDateTime, ShortText, ShortText, TextList, LongText)


@repeatable()
def upgrade() -> None:
    for name, kind in zip(_NEW, _TYPES, strict=True):
        op.add_column("task_outbox", sa.Column(name, kind))
    _replace_triggers(("generation", *_NEW))


@repeatable()
def downgrade() -> None:
    _replace_triggers(("generation",))
    with change_table("task_outbox") as outbox:
        for name in _NEW:
            outbox.drop_column(name)


def _replace_triggers(told: Sequence[str]) -> None:
    """Have the triggers write these columns of the task."""
    execute_for_engine(_DROP)
    execute_for_engine({engine: [_filled(text, told) for text in texts] for engine, texts in _CREATE.items()})


def _filled(text: str, told: Sequence[str]) -> str:
    for mark, row, event in (
        (":ended", "NEW", "NEW.status"),
        (":retried", "NEW", "'retried'"),
        (":deleted", "OLD", "'deleted'"),
    ):
        values = ", ".join(f"{row}.{name}" for name in told)
        insert = f"""INSERT INTO task_outbox (consumer, task_id, user_id, event, {", ".join(told)})
        SELECT consumers.number, {row}.id, {row}.user_id, {event}, {values}
        FROM {_CONSUMERS} AS consumers
        WHERE (({row}.followers >> consumers.number) & 1) = 1;"""  # noqa: S608 (constants)  # nosec B608
        text = text.replace(mark, insert)
    return text


_CONSUMERS = (
    "(SELECT 0 AS number UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3"
    " UNION ALL SELECT 4 UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7)"
)
_CREATE = {
    POSTGRESQL: (
        """CREATE OR REPLACE FUNCTION tasks_tell_followers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        :deleted
    ELSIF NEW.finished_at IS NULL THEN
        :retried
    ELSE
        :ended
    END IF;
    RETURN NULL;
END
$$""",
    ),
    MYSQL: (
        """CREATE TRIGGER tasks_followed AFTER UPDATE ON tasks FOR EACH ROW
IF NEW.followers <> 0 THEN
    IF OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL THEN
        :ended
    ELSEIF OLD.finished_at IS NOT NULL AND NEW.finished_at IS NULL THEN
        :retried
    END IF;
END IF""",
        """CREATE TRIGGER tasks_followed_deleted AFTER DELETE ON tasks FOR EACH ROW
IF OLD.followers <> 0 THEN
    :deleted
END IF""",
    ),
    SQLITE: (
        """CREATE TRIGGER tasks_followed AFTER UPDATE OF status ON tasks
WHEN NEW.followers <> 0 AND OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL
BEGIN
    :ended
END""",
        """CREATE TRIGGER tasks_followed_retried AFTER UPDATE OF status ON tasks
WHEN NEW.followers <> 0 AND OLD.finished_at IS NOT NULL AND NEW.finished_at IS NULL
BEGIN
    :retried
END""",
        """CREATE TRIGGER tasks_followed_deleted AFTER DELETE ON tasks WHEN OLD.followers <> 0
BEGIN
    :deleted
END""",
    ),
}
_DROP = {
    POSTGRESQL: (),  # its function is replaced
    MYSQL: ("DROP TRIGGER tasks_followed", "DROP TRIGGER tasks_followed_deleted"),
    SQLITE: (
        "DROP TRIGGER tasks_followed",
        "DROP TRIGGER tasks_followed_retried",
        "DROP TRIGGER tasks_followed_deleted",
    ),
}
