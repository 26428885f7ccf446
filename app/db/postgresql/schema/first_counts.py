"""The triggers that `counts.py` had at the first migration, and at the fourth one. They do not change any more."""

from app.db.sizes import task_bytes

_COUNT = """
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
_UNCOUNT = """
CREATE FUNCTION tasks_uncount() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO task_count_changes
        SELECT user_id, status, task_type, celery_task_name, priority, queue, -count(*)
        FROM gone WHERE finished_at IS NOT NULL GROUP BY 1, 2, 3, 4, 5, 6;
    RETURN NULL;
END
$$
"""
_FORGET = """
CREATE FUNCTION tasks_count_forget() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE task_totals, task_counts, task_count_changes;
    RETURN NULL;
END
$$
"""
# The WHEN clauses keep the function from running for submit, claim and progress.
INSERTED = """
CREATE TRIGGER tasks_count_inserted AFTER INSERT ON tasks FOR EACH ROW
    WHEN (NEW.finished_at IS NOT NULL) EXECUTE FUNCTION tasks_count()
"""
_UPDATED = """
CREATE TRIGGER tasks_count_updated AFTER UPDATE OF status, task_type, celery_task_name, priority, queue ON tasks
    FOR EACH ROW WHEN (OLD.finished_at IS NOT NULL OR NEW.finished_at IS NOT NULL) EXECUTE FUNCTION tasks_count()
"""
DELETED = """
CREATE TRIGGER tasks_count_deleted AFTER DELETE ON tasks REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION tasks_uncount()
"""
TRUNCATED = """
CREATE TRIGGER tasks_count_truncated AFTER TRUNCATE ON tasks
    FOR EACH STATEMENT EXECUTE FUNCTION tasks_count_forget()
"""

CREATE = (_COUNT, _UNCOUNT, _FORGET, INSERTED, _UPDATED, DELETED, TRUNCATED)

# As the fourth migration creates them: with bytes.
_COLUMNS = "user_id, status, task_type, celery_task_name, priority, queue, number, bytes"
_COUNT_BYTES = f"""
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
_UNCOUNT_BYTES = f"""
CREATE FUNCTION tasks_uncount() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO task_count_changes ({_COLUMNS})
        SELECT user_id, status, task_type, celery_task_name, priority, queue, -count(*), -sum({task_bytes("gone")})
        FROM gone WHERE finished_at IS NOT NULL GROUP BY 1, 2, 3, 4, 5, 6;
    RETURN NULL;
END
$$
"""  # noqa: S608 (constants)  # nosec B608
_FORGET_BYTES = """
CREATE FUNCTION tasks_count_forget() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE task_totals, task_counts, task_count_changes, stored_bytes;
    RETURN NULL;
END
$$
"""
_UPDATED_BYTES = """
CREATE TRIGGER tasks_count_updated
    AFTER UPDATE OF status, task_type, celery_task_name, priority, queue, attached_bytes ON tasks
    FOR EACH ROW WHEN (OLD.finished_at IS NOT NULL OR NEW.finished_at IS NOT NULL) EXECUTE FUNCTION tasks_count()
"""
WITH_BYTES = (_COUNT_BYTES, _UNCOUNT_BYTES, _FORGET_BYTES, INSERTED, _UPDATED_BYTES, DELETED, TRUNCATED)
