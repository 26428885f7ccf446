"""The triggers on `tasks` that record each change of the number and the bytes of ended tasks in `task_count_changes`.

The bytes of changes that are folded into the sums are added to `stored_bytes` by a trigger of their own. So no fold can
lose them, not even that of an older release.
"""

from app.db.postgresql.schema.sizes import ENDED_TASKS, task_bytes

# The bytes are computed by assignments: as parameters of an INSERT, which PostgreSQL plans anew the first five times in
# each session, the large values themselves would be read.
# One row for each changed task, written by the statement that changes the task. OLD is null for an INSERT.
_COLUMNS = "user_id, status, task_type, celery_task_name, priority, queue, number, bytes"
_COUNT = f"""
CREATE FUNCTION tasks_count() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE size bigint;
BEGIN
    IF OLD.finished_at IS NOT NULL THEN
        size := {task_bytes("OLD")};
        INSERT INTO task_count_changes ({_COLUMNS}) VALUES (
            OLD.user_id, OLD.status, OLD.task_type, OLD.celery_task_name, OLD.priority, OLD.queue, -1, -size);
    END IF;
    IF NEW.finished_at IS NOT NULL THEN
        size := {task_bytes("NEW")};
        INSERT INTO task_count_changes ({_COLUMNS}) VALUES (
            NEW.user_id, NEW.status, NEW.task_type, NEW.celery_task_name, NEW.priority, NEW.queue, 1, size);
    END IF;
    RETURN NULL;
END
$$
"""  # noqa: S608 (constants)  # nosec B608
# One DELETE may remove thousands of tasks: one row of sums for each statement.
_UNCOUNT = f"""
CREATE FUNCTION tasks_uncount() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO task_count_changes ({_COLUMNS})
        SELECT user_id, status, task_type, celery_task_name, priority, queue, -count(*), -sum({task_bytes("gone")})
        FROM gone WHERE finished_at IS NOT NULL GROUP BY 1, 2, 3, 4, 5, 6;
    RETURN NULL;
END
$$
"""  # noqa: S608 (constants)  # nosec B608
_FORGET = """
CREATE FUNCTION tasks_count_forget() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE task_totals, task_counts, task_count_changes, stored_bytes;
    RETURN NULL;
END
$$
"""
# The WHEN clauses keep the function from running for submit, claim and progress.
_TRIGGERS = (
    """
CREATE TRIGGER tasks_count_inserted AFTER INSERT ON tasks FOR EACH ROW
    WHEN (NEW.finished_at IS NOT NULL) EXECUTE FUNCTION tasks_count()
""",
    """
CREATE TRIGGER tasks_count_updated
    AFTER UPDATE OF status, task_type, celery_task_name, priority, queue, attached_bytes ON tasks
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

# One row of changes names one user several times: one row of sums for each. Sorted, so that two folds at once do not
# deadlock.
_STORE = f"""
CREATE FUNCTION task_count_changes_fold() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO stored_bytes (user_id, kind, bytes)
        SELECT user_id, '{ENDED_TASKS}', sum(bytes) FROM gone GROUP BY user_id HAVING sum(bytes) <> 0 ORDER BY user_id
    ON CONFLICT (user_id, kind) DO UPDATE SET bytes = stored_bytes.bytes + excluded.bytes;
    RETURN NULL;
END
$$
"""  # noqa: S608 (constants)  # nosec B608
_STORE_TRIGGER = """
CREATE TRIGGER task_count_changes_folded AFTER DELETE ON task_count_changes REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION task_count_changes_fold()
"""

CREATE = (_COUNT, _UNCOUNT, _FORGET, *_TRIGGERS)
# The triggers go with their table.
DROP = ("DROP FUNCTION IF EXISTS tasks_count(), tasks_uncount(), tasks_count_forget()",)
CREATE_FOLDING = (_STORE, _STORE_TRIGGER)
DROP_FOLDING = ("DROP FUNCTION IF EXISTS task_count_changes_fold()",)
# For a migration that changes the functions or the triggers: before CREATE.
REMOVE = ("DROP FUNCTION IF EXISTS tasks_count(), tasks_uncount(), tasks_count_forget() CASCADE",)
