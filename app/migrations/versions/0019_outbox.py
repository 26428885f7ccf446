"""the outbox of the tasks that something follows"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from app.core.engines import MYSQL, POSTGRESQL, SQLITE
from app.ddl.clock import NOW
from app.ddl.columns import Id, LongText, UTCDateTime, Word
from app.migrations.changes import change_table, copy_grants, execute_for_engine, repeatable

revision: str = "0019"
down_revision: str | None = "0018"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


@repeatable()
def upgrade() -> None:
    # First what may have to wait for a lock, so that nothing is half done then.
    op.add_column("tasks", sa.Column("followers", sa.SmallInteger))
    op.create_table(
        "task_outbox",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), SQLITE), sa.Identity(), primary_key=True),
        sa.Column("consumer", sa.SmallInteger, nullable=False),
        sa.Column("task_id", Id, nullable=False),
        sa.Column("user_id", Id, nullable=False),
        sa.Column("event", Word, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("created_at", UTCDateTime, nullable=False, server_default=NOW),
        sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
        sa.Column("next_try_at", UTCDateTime),
        sa.Column("error", LongText),
        sa.Column("set_aside_at", UTCDateTime),
        # Autovacuum clears it at each of its rounds.
        postgresql_with={"autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 1000},
    )
    op.create_index("ix_task_outbox_task", "task_outbox", ["consumer", "task_id", "id"])
    copy_grants("tasks", "task_outbox")
    execute_for_engine(
        {engine: [text.replace(":consumers", _CONSUMERS) for text in texts] for engine, texts in _CREATE.items()}
    )


@repeatable()
def downgrade() -> None:
    execute_for_engine(_DROP)
    with change_table("tasks") as tasks:
        tasks.drop_column("followers")
    op.drop_table("task_outbox")


# The consumers that a task may have, by their numbers; in the place of :consumers.
_CONSUMERS = (
    "(SELECT 0 AS number UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3"
    " UNION ALL SELECT 4 UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7)"
)
_CREATE = {
    POSTGRESQL: (
        """CREATE FUNCTION tasks_tell_followers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO task_outbox (consumer, task_id, user_id, event, generation)
        SELECT consumers.number, OLD.id, OLD.user_id, 'deleted', OLD.generation
        FROM :consumers AS consumers
        WHERE ((OLD.followers >> consumers.number) & 1) = 1;
    ELSIF NEW.finished_at IS NULL THEN
        INSERT INTO task_outbox (consumer, task_id, user_id, event, generation)
        SELECT consumers.number, NEW.id, NEW.user_id, 'retried', NEW.generation
        FROM :consumers AS consumers
        WHERE ((NEW.followers >> consumers.number) & 1) = 1;
    ELSE
        INSERT INTO task_outbox (consumer, task_id, user_id, event, generation)
        SELECT consumers.number, NEW.id, NEW.user_id, NEW.status, NEW.generation
        FROM :consumers AS consumers
        WHERE ((NEW.followers >> consumers.number) & 1) = 1;
    END IF;
    RETURN NULL;
END
$$""",
        """CREATE TRIGGER tasks_followed AFTER UPDATE OF status ON tasks
    FOR EACH ROW WHEN (NEW.followers <> 0 AND (OLD.finished_at IS NULL) <> (NEW.finished_at IS NULL))
    EXECUTE FUNCTION tasks_tell_followers()""",
        """CREATE TRIGGER tasks_followed_deleted AFTER DELETE ON tasks
    FOR EACH ROW WHEN (OLD.followers <> 0) EXECUTE FUNCTION tasks_tell_followers()""",
    ),
    MYSQL: (
        """CREATE TRIGGER tasks_followed AFTER UPDATE ON tasks FOR EACH ROW
IF NEW.followers <> 0 THEN
    IF OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL THEN
        INSERT INTO task_outbox (consumer, task_id, user_id, event, generation)
        SELECT consumers.number, NEW.id, NEW.user_id, NEW.status, NEW.generation
        FROM :consumers AS consumers
        WHERE ((NEW.followers >> consumers.number) & 1) = 1;
    ELSEIF OLD.finished_at IS NOT NULL AND NEW.finished_at IS NULL THEN
        INSERT INTO task_outbox (consumer, task_id, user_id, event, generation)
        SELECT consumers.number, NEW.id, NEW.user_id, 'retried', NEW.generation
        FROM :consumers AS consumers
        WHERE ((NEW.followers >> consumers.number) & 1) = 1;
    END IF;
END IF""",
        """CREATE TRIGGER tasks_followed_deleted AFTER DELETE ON tasks FOR EACH ROW
IF OLD.followers <> 0 THEN
    INSERT INTO task_outbox (consumer, task_id, user_id, event, generation)
        SELECT consumers.number, OLD.id, OLD.user_id, 'deleted', OLD.generation
        FROM :consumers AS consumers
        WHERE ((OLD.followers >> consumers.number) & 1) = 1;
END IF""",
    ),
    SQLITE: (
        """CREATE TRIGGER tasks_followed AFTER UPDATE OF status ON tasks
WHEN NEW.followers <> 0 AND OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL
BEGIN
    INSERT INTO task_outbox (consumer, task_id, user_id, event, generation)
        SELECT consumers.number, NEW.id, NEW.user_id, NEW.status, NEW.generation
        FROM :consumers AS consumers
        WHERE ((NEW.followers >> consumers.number) & 1) = 1;
END""",
        """CREATE TRIGGER tasks_followed_retried AFTER UPDATE OF status ON tasks
WHEN NEW.followers <> 0 AND OLD.finished_at IS NOT NULL AND NEW.finished_at IS NULL
BEGIN
    INSERT INTO task_outbox (consumer, task_id, user_id, event, generation)
        SELECT consumers.number, NEW.id, NEW.user_id, 'retried', NEW.generation
        FROM :consumers AS consumers
        WHERE ((NEW.followers >> consumers.number) & 1) = 1;
END""",
        """CREATE TRIGGER tasks_followed_deleted AFTER DELETE ON tasks WHEN OLD.followers <> 0
BEGIN
    INSERT INTO task_outbox (consumer, task_id, user_id, event, generation)
        SELECT consumers.number, OLD.id, OLD.user_id, 'deleted', OLD.generation
        FROM :consumers AS consumers
        WHERE ((OLD.followers >> consumers.number) & 1) = 1;
END""",
    ),
}
_DROP = {
    POSTGRESQL: (
        "DROP TRIGGER tasks_followed ON tasks",
        "DROP TRIGGER tasks_followed_deleted ON tasks",
        "DROP FUNCTION tasks_tell_followers()",
    ),
    MYSQL: ("DROP TRIGGER tasks_followed", "DROP TRIGGER tasks_followed_deleted"),
    SQLITE: (
        "DROP TRIGGER tasks_followed",
        "DROP TRIGGER tasks_followed_retried",
        "DROP TRIGGER tasks_followed_deleted",
    ),
}
