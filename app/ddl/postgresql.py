"""The triggers of PostgreSQL with their functions, by the table that they stand on, and why a task waits.

The first one refuses each UPDATE of `tasks` that breaks the state machine: all engines' rules, in plpgsql.
"""

import re

from app.ddl import trigger_rules
from app.ddl.terms import COUNT_RETRY, ENDED_TASKS, IS_TRIED_AGAIN, KIND, MESSAGE_CHARACTERS, task_bytes
from app.ddl.trigger_rules import waiting_reason, waits


def _refusal(words: str) -> str:
    text, *columns = re.sub(r"\{\w+\.\w+\}", "%", words), *re.findall(r"\{(\w+\.\w+)\}", words)
    return f"RAISE EXCEPTION 'tasks_guard: {text}', {', '.join(columns)} USING ERRCODE = 'check_violation';"


def _rules(rules: trigger_rules.Rules, indent: str = "    ") -> str:
    """Return nested IFs: the first condition that is met decides."""
    lines, word = [], "IF"
    for condition, then in rules:
        within = f"{indent}    "
        refused = f"{within}{_refusal(then)}" if isinstance(then, str) else _rules(then, within)
        lines += [f"{indent}{word} {condition} THEN", refused]
        word = "ELSIF"
    return "\n".join([*lines, f"{indent}END IF;"])


_GUARD = f"""
CREATE FUNCTION tasks_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
{_rules(trigger_rules.guard_rules(lambda column: f"NEW.{column} IS DISTINCT FROM OLD.{column}", of_limits=False))}
    RETURN NEW;
END
$$
"""

_GUARD_TRIGGER = """
CREATE TRIGGER tasks_guard BEFORE UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION tasks_guard()
"""

_CREATE_GUARD = (_GUARD, _GUARD_TRIGGER)


# -- The trigger on `tasks` that lets no task of a paused queue begin, and none by a worker that drains ----------------
# It stands at the row and not in the claim, so that each statement which sets `running` meets it, however it picks
# rows.
#
# A claim may have taken its snapshot before a pause was committed. So the trigger reads `claim_holds` by a query of its
# own, which in a function has a snapshot of its own, and FOR KEY SHARE: this takes the lock ROW SHARE on the table
# before the snapshot, and keeps it until the claim is committed. Who adds a hold takes the lock EXCLUSIVE first
# (`app/db/statements/claim_holds.py`). It waits until the claims that have read the table are over, and the claims
# that come later wait for its commit and read what it has written. Readers (ACCESS SHARE) wait for neither.
#
# ROW SHARE is taken on PostgreSQL's fast path, without the shared table of locks, and no row is locked unless a hold is
# there.

_HOLDS = """
CREATE FUNCTION tasks_held() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM claim_holds
    WHERE kind = 'queue' AND name = NEW.queue OR kind = 'worker' AND name = NEW.worker_id::text
    FOR KEY SHARE;
    IF FOUND THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END
$$
"""

_HOLDS_TRIGGER = """
CREATE TRIGGER tasks_held BEFORE UPDATE ON tasks FOR EACH ROW
WHEN (OLD.status = 'pending' AND NEW.status = 'running') EXECUTE FUNCTION tasks_held()
"""

_CREATE_HOLDS = (_HOLDS, _HOLDS_TRIGGER)


# -- The trigger on `tasks` by which a claim takes the places that the task needs; without one of them it is refused ---
# It stands at the row and not in the claim, so that each statement which sets `running` meets it. So the place says
# which process runs the body from the moment of the claim on, and no task begins for which no place was reserved,
# whoever wrote its row. Tasks that need no place pay for the condition alone.

_LIMITS = """
CREATE FUNCTION tasks_limited() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    needed CONSTANT integer := num_nonnulls(NEW."limit") + coalesce(NEW.user_limited, false)::integer;
    taken integer;
BEGIN
    UPDATE limit_places
    SET started_at = clock_timestamp(), worker_id = NEW.worker_id, worker_pid = NEW.worker_pid
    WHERE task_id = NEW.id AND attempt = NEW.attempt AND worker_id IS NULL AND ended_at IS NULL
        AND (limit_name = NEW."limit" OR NEW.user_limited AND limit_name = '@user');
    GET DIAGNOSTICS taken = ROW_COUNT;
    IF taken < needed THEN
        IF taken > 0 THEN
            UPDATE limit_places SET started_at = NULL, worker_id = NULL, worker_pid = NULL
            WHERE task_id = NEW.id AND attempt = NEW.attempt AND ended_at IS NULL;
        END IF;
        RETURN NULL;
    END IF;
    RETURN NEW;
END
$$
"""

# After `tasks_held`, by its name: what that refuses takes no place.
_LIMITS_TRIGGER = """
CREATE TRIGGER tasks_limited BEFORE UPDATE ON tasks FOR EACH ROW
WHEN (OLD.status = 'pending' AND NEW.status = 'running' AND (NEW."limit" IS NOT NULL OR NEW.user_limited))
EXECUTE FUNCTION tasks_limited()
"""

_CREATE_LIMITS = (_LIMITS, _LIMITS_TRIGGER)


# -- The triggers on `tasks` that record each change of the number and the bytes of ended tasks ------------------------
# They write to `task_count_changes`. The row of a task that ends also says when, how long it waited and ran, and with
# which error: `/stats` and `/errors/` are made of these rows. In rows that only move a count, `ended_at` is NULL.
#
# The bytes of changes that are folded into the sums are added to `stored_bytes` by a trigger of their own. So no fold
# can lose them, not even that of an older release.

# The bytes are computed by assignments: as parameters of an INSERT, which PostgreSQL plans anew the first five times in
# each session, the large values themselves would be read.
# One row for each changed task, written by the statement that changes the task. OLD is null for an INSERT.
_COLUMNS = (
    "user_id, status, task_type, celery_task_name, priority, queue, number, bytes, error, error_type, error_message"
)
_ENTERS = "ended_at, waited, ran"


def _count_values(row: str) -> str:
    """Return what a row of changes says of an ended task."""
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
        INSERT INTO task_count_changes ({_COLUMNS}) VALUES ({_count_values("OLD")});
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
        INSERT INTO task_count_changes ({_COLUMNS}, {_ENTERS}) VALUES ({_count_values("NEW")}, {_ENTERS});
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
_COUNT_INSERTED = """
CREATE TRIGGER tasks_count_inserted AFTER INSERT ON tasks FOR EACH ROW
    WHEN (NEW.finished_at IS NOT NULL) EXECUTE FUNCTION tasks_count()
"""
_COUNT_UPDATED = """
CREATE TRIGGER tasks_count_updated
    AFTER UPDATE OF status, task_type, celery_task_name, priority, queue, attached_bytes, error_fingerprint ON tasks
    FOR EACH ROW WHEN (OLD.finished_at IS NOT NULL OR NEW.finished_at IS NOT NULL) EXECUTE FUNCTION tasks_count()
"""
_COUNT_DELETED = """
CREATE TRIGGER tasks_count_deleted AFTER DELETE ON tasks REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION tasks_uncount()
"""
_COUNT_TRUNCATED = """
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

_CREATE_COUNTS = (_COUNT, _UNCOUNT, _FORGET, _COUNT_INSERTED, _COUNT_UPDATED, _COUNT_DELETED, _COUNT_TRUNCATED)
_CREATE_FOLDING = (_STORE, _STORE_TRIGGER)
_CREATE_RETRIES = (_RETRY, _RETRIED)


# -- The triggers on `tasks` that write to `task_outbox`. They do not fire for a task without followers ----------------

_OUTBOX = f"""
CREATE FUNCTION tasks_tell_followers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        {trigger_rules.outbox_of_deleted()}
    ELSIF NEW.finished_at IS NULL THEN
        {trigger_rules.outbox_of_retried()}
    ELSE
        {trigger_rules.outbox_of_ended()}
    END IF;
    RETURN NULL;
END
$$
"""
_FOLLOWED = """
CREATE TRIGGER tasks_followed AFTER UPDATE OF status ON tasks
    FOR EACH ROW WHEN (NEW.followers <> 0 AND (OLD.finished_at IS NULL) <> (NEW.finished_at IS NULL))
    EXECUTE FUNCTION tasks_tell_followers()
"""
_FOLLOWED_DELETED = """
CREATE TRIGGER tasks_followed_deleted AFTER DELETE ON tasks
    FOR EACH ROW WHEN (OLD.followers <> 0) EXECUTE FUNCTION tasks_tell_followers()
"""
_WANTED = f"""
CREATE FUNCTION tasks_tell_wanted_end() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {trigger_rules.outbox_of_wanted_end()}
    RETURN NULL;
END
$$
"""
_END_WANTED = f"""
CREATE TRIGGER tasks_end_wanted AFTER UPDATE OF status ON tasks
    FOR EACH ROW WHEN ({trigger_rules.END_IS_WANTED})
    EXECUTE FUNCTION tasks_tell_wanted_end()
"""

_CREATE_OUTBOX = (_OUTBOX, _FOLLOWED, _FOLLOWED_DELETED, _WANTED, _END_WANTED)


# -- Why a task of `tasks` waits: the reason of every engine, for few rows in a function -------------------------------

_NOW = "statement_timestamp()"

# For few rows: PostgreSQL would plan the subquery at each execution, which takes a third of the time to read a task.
WAITS = "CASE WHEN tasks.status = 'pending' THEN waits_for(tasks.run_at, tasks.failures, tasks.queue, tasks.held) END"
# For many rows: a call of the function takes some microseconds.
WAITS_OF_MANY = waits(_NOW)

# In plpgsql, so that its plan is kept with the connection and is no part of the query around it.
_CREATE_WAITING = (
    f"""
CREATE FUNCTION waits_for(run_at timestamptz, failures integer, queue text, held text)
RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN {waiting_reason("waits_for.", _NOW)};
END
$$
""",
)


# -- What keeps `audit_events` append-only: a trigger that refuses every change, and revoked privileges ----------------

# A statement-level trigger also refuses an UPDATE that matches no row, and the UPDATE of INSERT … ON CONFLICT.
_AUDIT = """
CREATE FUNCTION audit_events_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit_events is append-only: no %', TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$
"""

_AUDIT_TRIGGER = """
CREATE TRIGGER audit_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION audit_events_append_only()
"""

# Without ALWAYS, `SET session_replication_role = replica` would switch the trigger off.
_AUDIT_ALWAYS = "ALTER TABLE audit_events ENABLE ALWAYS TRIGGER audit_events_append_only"
# The table's owner loses these privileges as well.
_AUDIT_PRIVILEGES = "REVOKE UPDATE, DELETE, TRUNCATE ON audit_events FROM CURRENT_USER, PUBLIC"

_CREATE_AUDIT = (_AUDIT, _AUDIT_TRIGGER, _AUDIT_ALWAYS, _AUDIT_PRIVILEGES)


# -- All triggers, and their functions. `app/ddl/engines.py` installs them with their tables ---------------------------

# By the table that the triggers stand on: what to execute after it is created.
CREATE = {
    "tasks": (*_CREATE_GUARD, *_CREATE_COUNTS, *_CREATE_HOLDS, *_CREATE_LIMITS, *_CREATE_WAITING, *_CREATE_OUTBOX),
    "task_attempts": _CREATE_RETRIES,
    "task_count_changes": _CREATE_FOLDING,
    "audit_events": _CREATE_AUDIT,
}
