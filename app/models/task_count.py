"""How many tasks have ended, kept as numbers: exact at every moment, and no row that everybody writes.

A trigger adds one row to `task_count_changes` for each task that ends (+1), and for each ended one that is retried or
deleted (-1), in the transaction of that change. The keeper folds those rows into the two tables of sums, in one
statement. So in any snapshot a number is its sum and the changes that are not folded yet (docs/adr/0026).

What a task is counted under stays as it is once it has ended; where somebody changes it by hand all the same, the
trigger moves the count.
"""

from sqlalchemy import DDL, BigInteger, Column, Integer, Table, Text, Uuid, event

from app.db.base import Base
from app.models.task import Task

KIND = ("task_type", "celery_task_name", "priority", "queue")
COUNTED_UNDER = ("user_id", "status", *KIND)


def _key(*names: str, primary_key: bool = True) -> list[Column[object]]:
    return [
        Column(name, Uuid() if name == "user_id" else Text(), primary_key=primary_key, nullable=False)
        for name in names
    ]  # fmt: skip


# Ended tasks of one user and status: few rows, however many kinds of tasks there are.
task_totals = Table(
    "task_totals", Base.metadata, *_key("user_id", "status"), Column("number", BigInteger, nullable=False)
)
# The same by kind, for counts with filters.
task_counts = Table(
    "task_counts", Base.metadata, *_key("user_id", *KIND, "status"), Column("number", BigInteger, nullable=False)
)
# What is not folded yet. No key and no index: each finish would pay for them.
task_count_changes = Table(
    "task_count_changes",
    Base.metadata,
    *_key(*COUNTED_UNDER, primary_key=False),
    Column("number", Integer, nullable=False),
    # Every row is soon deleted: autovacuum clears them away each time that it looks.
    postgresql_with={"autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 1000},
)

# One row of a change for each task, in the statement that changes it. OLD is null for an INSERT.
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
# Deletions come by the thousand: a sum for each statement.
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
# Submit, claim and progress stop at the WHEN, or before it.
COUNT_TRIGGERS = (
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

# The triggers go with their table.
DROP_FUNCTIONS = "DROP FUNCTION IF EXISTS tasks_count(), tasks_uncount(), tasks_count_forget()"

for _statement in (COUNT_FUNCTION, UNCOUNT_FUNCTION, FORGET_FUNCTION, *COUNT_TRIGGERS):
    event.listen(Task.__table__, "after_create", DDL(_statement))  # type: ignore[no-untyped-call]
event.listen(Task.__table__, "after_drop", DDL(DROP_FUNCTIONS))  # type: ignore[no-untyped-call]
