"""counts of ended tasks, kept by a trigger; indexes for filtered lists

The numbers are filled from the rows that are there: one pass over the table, and three indexes. Meanwhile everybody
who wants `tasks` waits. An index is exchanged, which nobody may be reading; after a weaker lock, those who read
and then write would wait for it, and it for them.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

COUNT_FUNCTION = """
CREATE FUNCTION tasks_count() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.finished_at IS NOT NULL THEN
        INSERT INTO task_count_changes VALUES (
            OLD.user_id, OLD.status, OLD.task_type, OLD.celery_task_name, OLD.priority, OLD.queue, -1);
    END IF;
    IF NEW.finished_at IS NOT NULL THEN
        INSERT INTO task_count_changes VALUES (
            NEW.user_id, NEW.status, NEW.task_type, NEW.celery_task_name, NEW.priority, NEW.queue, 1);
    END IF;
    RETURN NULL;
END
$$
"""
UNCOUNT_FUNCTION = """
CREATE FUNCTION tasks_uncount() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO task_count_changes
        SELECT user_id, status, task_type, celery_task_name, priority, queue, -count(*)
        FROM gone WHERE finished_at IS NOT NULL GROUP BY 1, 2, 3, 4, 5, 6;
    RETURN NULL;
END
$$
"""
FORGET_FUNCTION = """
CREATE FUNCTION tasks_count_forget() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE task_totals, task_counts, task_count_changes;
    RETURN NULL;
END
$$
"""
TRIGGERS = (
    """
CREATE TRIGGER tasks_count_inserted AFTER INSERT ON tasks FOR EACH ROW
    WHEN (NEW.finished_at IS NOT NULL) EXECUTE FUNCTION tasks_count()
""",
    """
CREATE TRIGGER tasks_count_updated AFTER UPDATE OF status, task_type, celery_task_name, priority, queue ON tasks
    FOR EACH ROW WHEN (OLD.finished_at IS NOT NULL OR NEW.finished_at IS NOT NULL) EXECUTE FUNCTION tasks_count()
""",
    """
CREATE TRIGGER tasks_count_deleted AFTER DELETE ON tasks REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION tasks_uncount()
""",
    """
CREATE TRIGGER tasks_count_truncated AFTER TRUNCATE ON tasks
    FOR EACH STATEMENT EXECUTE FUNCTION tasks_count_forget()
""",
)
FILL_COUNTS = """
INSERT INTO task_counts SELECT user_id, task_type, celery_task_name, priority, queue, status, count(*)
FROM tasks WHERE finished_at IS NOT NULL GROUP BY 1, 2, 3, 4, 5, 6
"""
FILL_TOTALS = "INSERT INTO task_totals SELECT user_id, status, sum(number) FROM task_counts GROUP BY 1, 2"
# Where another role runs the service (docs/database-roles.md): from the first finish on, its rights are needed.
RIGHTS = """
DO $$
DECLARE role name;
BEGIN
    FOR role IN
        SELECT DISTINCT pg_get_userbyid(granted.grantee) FROM pg_class, aclexplode(relacl) AS granted
        WHERE pg_class.oid = to_regclass('tasks') AND privilege_type = 'UPDATE' AND grantee NOT IN (0, relowner)
    LOOP
        EXECUTE format(
            'GRANT SELECT, INSERT, UPDATE, DELETE ON task_totals, task_counts, task_count_changes TO %I', role);
    END LOOP;
END
$$
"""
# The first with uuid_extract_timestamp().
OLDEST = (17,)
KIND = "hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0)"
ODD_ID = "(created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute' AND interval '1 minute') IS NOT TRUE"


def _key(*names: str) -> list[sa.Column[object]]:
    return [sa.Column(name, sa.Uuid() if name == "user_id" else sa.Text(), nullable=False) for name in names]


def _check_server() -> None:
    """Or the first one to tell would be a missing function."""
    if op.get_context().as_sql:
        return
    version = op.get_bind().dialect.server_version_info or ()
    if version < OLDEST:
        raise CommandError(f"PostgreSQL {OLDEST[0]} or newer is needed, not {'.'.join(map(str, version))}")


def upgrade() -> None:
    _check_server()
    kind = ("task_type", "celery_task_name", "priority", "queue")
    op.create_table(
        "task_totals",
        *_key("user_id", "status"),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "status", name=op.f("pk_task_totals")),
    )
    op.create_table(
        "task_counts",
        *_key("user_id", *kind, "status"),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", *kind, "status", name=op.f("pk_task_counts")),
    )
    op.create_table(
        "task_count_changes",
        *_key("user_id", "status", *kind),
        sa.Column("number", sa.Integer(), nullable=False),
        postgresql_with={"autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 1000},
    )
    op.execute(RIGHTS)
    # Nobody may end a task between the numbers and the triggers. Its lock_timeout holds here as well.
    op.execute("LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE")
    # A table of any size is gone through once.
    op.execute("SET LOCAL statement_timeout = 0")
    for function in (COUNT_FUNCTION, UNCOUNT_FUNCTION, FORGET_FUNCTION):
        op.execute(function)
    for statement in (*TRIGGERS, FILL_COUNTS, FILL_TOTALS):
        op.execute(statement)
    op.execute(f"CREATE INDEX ix_tasks_kind ON tasks (user_id, {KIND}, id DESC) WHERE finished_at IS NOT NULL")
    op.execute(f"CREATE INDEX ix_tasks_odd_ids ON tasks (user_id) WHERE {ODD_ID}")
    op.drop_index("ix_tasks_tags", "tasks")
    op.execute("CREATE INDEX ix_tasks_tags ON tasks USING gin (tags) WHERE tags <> '{}'")


def downgrade() -> None:
    for trigger in ("inserted", "updated", "deleted", "truncated"):
        op.execute(f"DROP TRIGGER tasks_count_{trigger} ON tasks")
    op.execute("DROP FUNCTION tasks_count(), tasks_uncount(), tasks_count_forget()")
    for name in ("ix_tasks_kind", "ix_tasks_odd_ids", "ix_tasks_tags"):
        op.drop_index(name, "tasks")
    op.create_index("ix_tasks_tags", "tasks", ["tags"], postgresql_using="gin")
    for table in ("task_count_changes", "task_counts", "task_totals"):
        op.drop_table(table)
