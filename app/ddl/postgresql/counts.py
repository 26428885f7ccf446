"""The triggers on `tasks` that record each change of the number and the bytes of ended tasks in `task_count_changes`.

The row of a task that ends also says when, how long it waited and ran, and with which error: `/stats` and `/errors/`
are made of these rows. In rows that only move a count, `ended_at` is NULL.

The bytes of changes that are folded into the sums are added to `stored_bytes` by a trigger of their own. So no fold can
lose them, not even that of an older release.
"""

from app.ddl.sizes import ENDED_TASKS, task_bytes
from app.ddl.trigger_terms import COUNT_RETRY, IS_TRIED_AGAIN, KIND, MESSAGE_CHARACTERS

# The bytes are computed by assignments: as parameters of an INSERT, which PostgreSQL plans anew the first five times in
# each session, the large values themselves would be read.
# One row for each changed task, written by the statement that changes the task. OLD is null for an INSERT.
_COLUMNS = (
    "user_id, status, task_type, celery_task_name, priority, queue, number, bytes, error, error_type, error_message"
)
_ENTERS = "ended_at, waited, ran"


def _values(row: str) -> str:
    """What a row of changes says of an ended task."""
    kind = ", ".join(f"{row}.{name}" for name in ("user_id", "status", *KIND))
    sign = "-" if row == "OLD" else ""
    return f"{kind}, {sign}1, {sign}size, {row}.error_fingerprint, error_type, error_message"


def _error_of(row: str) -> str:
    """Successes do not pay for the texts of an error."""
    return f"""
        IF {row}.error_fingerprint IS NOT NULL THEN
            error_type := {row}.error_type;
            error_message := left({row}.error_message, {MESSAGE_CHARACTERS});
        END IF;"""


# A task that is retried through the API was due at a time that nothing tells any more. The loss or return of an attempt
# moves no `run_at`; its row tells when the task was due again.
_COUNT = f"""
CREATE FUNCTION tasks_count() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    size bigint;
    due timestamptz;
    ended_at timestamptz;
    waited float8;
    ran float8;
    error_type text;
    error_message text;
BEGIN
    IF OLD.finished_at IS NOT NULL THEN
        size := {task_bytes("OLD")};{_error_of("OLD")}
        INSERT INTO task_count_changes ({_COLUMNS}) VALUES ({_values("OLD")});
    ELSE
        ended_at := NEW.finished_at;
        IF OLD.status = 'running' THEN
            ran := extract(epoch FROM NEW.finished_at - NEW.started_at);
            IF NEW.generation = 1 THEN
                due := greatest(NEW.created_at, NEW.run_at);
                IF NEW.attempt > 1 THEN
                    due := greatest(due, (
                        SELECT finished_at FROM task_attempts WHERE task_id = NEW.id AND number = NEW.attempt - 1
                    ));
                END IF;
                waited := extract(epoch FROM NEW.started_at - due);
            END IF;
        END IF;
    END IF;
    IF NEW.finished_at IS NOT NULL THEN
        size := {task_bytes("NEW")};{_error_of("NEW")}
        INSERT INTO task_count_changes ({_COLUMNS}, {_ENTERS}) VALUES ({_values("NEW")}, {_ENTERS});
    END IF;
    RETURN NULL;
END
$$
"""  # noqa: S608 (constants)  # nosec B608
# One DELETE may remove thousands of tasks: one row of sums for each statement, and each error.
_UNCOUNT = f"""
CREATE FUNCTION tasks_uncount() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO task_count_changes ({_COLUMNS})
        SELECT user_id, status, {", ".join(KIND)}, -count(*), -sum({task_bytes("gone")}), error_fingerprint,
            CASE WHEN error_fingerprint IS NOT NULL THEN max(error_type) END,
            CASE WHEN error_fingerprint IS NOT NULL THEN left(max(error_message), {MESSAGE_CHARACTERS}) END
        FROM gone WHERE finished_at IS NOT NULL GROUP BY user_id, status, {", ".join(KIND)}, error_fingerprint;
    RETURN NULL;
END
$$
"""  # noqa: S608 (constants)  # nosec B608
_FORGET = """
CREATE FUNCTION tasks_count_forget() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE task_totals, task_counts, task_count_changes, stored_bytes, error_groups, error_times;
    RETURN NULL;
END
$$
"""
# The WHEN clauses keep the function from running for submit, claim and progress.
_INSERTED = """
CREATE TRIGGER tasks_count_inserted AFTER INSERT ON tasks FOR EACH ROW
    WHEN (NEW.finished_at IS NOT NULL) EXECUTE FUNCTION tasks_count()
"""
_UPDATED = """
CREATE TRIGGER tasks_count_updated
    AFTER UPDATE OF status, task_type, celery_task_name, priority, queue, attached_bytes, error_fingerprint ON tasks
    FOR EACH ROW WHEN (OLD.finished_at IS NOT NULL OR NEW.finished_at IS NOT NULL) EXECUTE FUNCTION tasks_count()
"""
_DELETED = """
CREATE TRIGGER tasks_count_deleted AFTER DELETE ON tasks REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION tasks_uncount()
"""
_TRUNCATED = """
CREATE TRIGGER tasks_count_truncated AFTER TRUNCATE ON tasks
    FOR EACH STATEMENT EXECUTE FUNCTION tasks_count_forget()
"""

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

_RETRY = f"""
CREATE FUNCTION task_attempts_count_retry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {COUNT_RETRY}
    RETURN NULL;
END
$$
"""
_RETRIED = f"""
CREATE TRIGGER task_attempts_retried AFTER INSERT ON task_attempts FOR EACH ROW
    WHEN ({IS_TRIED_AGAIN}) EXECUTE FUNCTION task_attempts_count_retry()
"""

CREATE = (_COUNT, _UNCOUNT, _FORGET, _INSERTED, _UPDATED, _DELETED, _TRUNCATED)
CREATE_FOLDING = (_STORE, _STORE_TRIGGER)
CREATE_RETRIES = (_RETRY, _RETRIED)
