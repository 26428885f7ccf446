"""What the triggers of every engine do, which each renders in its own language, and why a task waits.

The guard on `tasks` refuses every UPDATE that breaks the state machine or, but on PostgreSQL, a limit. The service's
own statements carry the same guards. The trigger catches a statement without them. PostgreSQL has further triggers for
limits and pauses (`app/ddl/postgresql.py`). Elsewhere limits are in this one: each further trigger costs MySQL as much
as its rules. A pause needs none there, since each claim locks the row that a pause locks
(`app/db/statements/claim_holds.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from app.ddl.terms import BIT_OF_END, HIDDEN_HOLD, KIND, MESSAGE_CHARACTERS, MOST_CONSUMERS, USER_LIMIT, task_bytes

# Conditions on OLD and NEW in turn, each with what is said then, or with the rules that are left. The first that is met
# decides; where none is, the row goes through.
Rules: TypeAlias = list[tuple[str, "str | Rules"]]

_CLAIMED = "OLD.status = 'pending' AND NEW.status = 'running'"
_RETRIED = "OLD.status IN ('failed', 'revoked') AND NEW.status = 'pending'"


def guard_rules(differ: Callable[[str], str], *, of_limits: bool = True) -> Rules:
    """Return the rules. `differ(column)`: the condition that OLD and NEW differ, one of which may be NULL."""
    unmoved: Rules = [
        (
            f"""NEW.attempt <> OLD.attempt OR NEW.generation <> OLD.generation OR NEW.failures <> OLD.failures
            OR NEW.crashes <> OLD.crashes OR {differ("claim_id")}""",
            "counters of task {OLD.id} change only with its status",
        ),
        (
            f"""OLD.finished_at IS NOT NULL AND (NEW.finished_at <> OLD.finished_at OR NEW.progress <> OLD.progress
            OR {differ("progress_detail")} OR {differ("result")} OR {differ("error_type")}
            OR {differ("error_message")} OR NEW.args <> OLD.args OR NEW.kwargs <> OLD.kwargs)""",
            "task {OLD.id} has ended",
        ),
    ]
    claimed: Rules = [
        (
            "NEW.attempt <> OLD.attempt + 1 OR NEW.generation <> OLD.generation",
            "a claim of task {OLD.id} must raise attempt by one",
        )
    ]
    if of_limits:
        claimed.append(("NEW.`limit` IS NOT NULL OR NEW.user_limited", _places()))
    retried: Rules = [
        (
            """NEW.generation <> OLD.generation + 1 OR NEW.celery_id = OLD.celery_id
            OR NEW.failures <> 0 OR NEW.crashes <> 0""",
            "a retry of task {OLD.id} starts a new generation",
        )
    ]
    return [
        (
            "NEW.id <> OLD.id OR NEW.user_id <> OLD.user_id OR NEW.celery_task_name <> OLD.celery_task_name",
            "identity of task {OLD.id} is fixed",
        ),
        (
            "NEW.version NOT IN (OLD.version, OLD.version + 1)",
            "version of task {OLD.id} from {OLD.version} to {NEW.version}",
        ),
        (
            """NEW.generation = OLD.generation AND (NEW.celery_id <> OLD.celery_id
            OR OLD.cancel_requested_at IS NOT NULL AND NEW.cancel_requested_at IS NULL)""",
            "celery_id and a request to cancel task {OLD.id} last for a generation",
        ),
        ("NEW.status = OLD.status", unmoved),
        (
            """OLD.status IN ('pending', 'running') AND (NEW.failures <> OLD.failures OR NEW.crashes <> OLD.crashes)
            AND NOT (OLD.status = 'running' AND NEW.status IN ('failed', 'pending')
            AND NEW.failures >= OLD.failures AND NEW.crashes >= OLD.crashes
            AND NEW.failures + NEW.crashes = OLD.failures + OLD.crashes + 1)""",
            "an attempt of task {OLD.id} counts once, as it fails or is lost",
        ),
        (_CLAIMED, claimed),
        ("NEW.attempt <> OLD.attempt", "attempt of task {OLD.id} rises with a claim alone"),
        (_RETRIED, retried),
        ("NEW.generation <> OLD.generation", "generation of task {OLD.id} rises with a retry alone"),
        (
            "OLD.status <> 'running' AND NOT (OLD.status = 'pending' AND NEW.status = 'revoked')",
            "task {OLD.id} cannot go from {OLD.status} to {NEW.status}",
        ),
        (
            "OLD.status = 'running' AND NEW.status IN ('failed', 'pending') AND OLD.cancel_requested_at IS NOT NULL",
            "the cancelled task {OLD.id} can only succeed or be revoked",
        ),
    ]


def _places() -> Rules:
    """The claim takes the places before it updates the row. So they must be there, whatever picked the row."""
    place = """NOT EXISTS (
            SELECT 1 FROM limit_places WHERE task_id = NEW.id AND attempt = NEW.attempt AND limit_name = {}
            AND worker_id = NEW.worker_id AND started_at IS NOT NULL AND ended_at IS NULL)"""
    words = "task {OLD.id} has no place"
    return [
        (f"NEW.`limit` IS NOT NULL AND {place.format('NEW.`limit`')}", words),
        (f"NEW.user_limited AND {place.format(repr(USER_LIMIT))}", words),
    ]


# -- The rows that the triggers on `tasks` add to `task_count_changes` on MySQL and SQLite: one for each change --------
# They are those of `app/ddl/postgresql.py`, of which two triggers are missing. Who folds the rows adds their bytes to
# `stored_bytes`: here a trigger would do so for each row. And nothing sees a TRUNCATE, which SQLite does not have.

_COUNTED_UNDER = ("user_id", "status", *KIND)
# Columns without which no counted thing of an ended task changes: its other sizes move with the status alone.
COUNTED_COLUMNS = ("status", *KIND, "attached_bytes", "error_fingerprint")


ATTEMPT_BEFORE = "(SELECT finished_at FROM task_attempts WHERE task_id = NEW.id AND number = NEW.attempt - 1)"


@dataclass(frozen=True)
class TimeSpelling:
    """How an engine writes the later of two times, and the seconds between them: with {0} and {1}."""

    later: str
    seconds: str


def count_leaving() -> str:
    """Takes back what an ended task counted before the change."""
    return _insert_change("OLD", -1)


def count_staying() -> str:
    """Counts a task that is ended after the change, and was before."""
    return _insert_change("NEW", 1)


def count_inserted() -> str:
    """Counts a row that is inserted as an ended task."""
    return _insert_change("NEW", 1, ended_at="NEW.finished_at")


def count_entering(spelling: TimeSpelling, attempt_before: str) -> str:
    """Counts a task that ends. `attempt_before`: when the attempt before the last one ended, or NULL.

    A task that is retried through the API was due at a time that nothing tells any more. The loss or return of an
    attempt moves no `run_at`; its row tells when the task was due again.
    """
    due = "NEW.created_at"
    for later in ("NEW.run_at", attempt_before):
        due = spelling.later.format(due, f"coalesce({later}, NEW.created_at)")
    waited = _if("OLD.status = 'running' AND NEW.generation = 1", spelling.seconds.format(due, "NEW.started_at"))
    ran = _if("OLD.status = 'running'", spelling.seconds.format("NEW.started_at", "NEW.finished_at"))
    return _insert_change("NEW", 1, ended_at="NEW.finished_at", waited=waited, ran=ran)


def _if(condition: str, value: str) -> str:
    return f"CASE WHEN {condition} THEN {value} END"


def _insert_change(row: str, number: int, **more: str) -> str:
    failed = f"{row}.error_fingerprint IS NOT NULL"
    values = {
        **{name: f"{row}.{name}" for name in _COUNTED_UNDER},
        "number": str(number),
        "bytes": task_bytes(row) if number > 0 else f"-({task_bytes(row)})",
        "error": f"{row}.error_fingerprint",
        "error_type": _if(failed, f"{row}.error_type"),
        "error_message": _if(failed, f"substr({row}.error_message, 1, {MESSAGE_CHARACTERS})"),
        **more,
    }
    lines = ",\n        ".join(values.values())
    return f"INSERT INTO task_count_changes ({', '.join(values)}) VALUES (\n        {lines}\n    );"  # noqa: S608  # nosec B608


# -- The rows that the triggers on `tasks` add to `task_outbox` for a task that has followers, on every engine ---------

_CONSUMERS = "SELECT 0 AS number" + "".join(f" UNION ALL SELECT {number}" for number in range(1, MOST_CONSUMERS))

# What a consumer is told of the task as the event has left it.
_EVENT_COLUMNS = ("generation", "version", "finished_at", "task_type", "celery_task_name", "tags", "webhook_url")


def outbox_of_ended() -> str:
    """Return a row for each follower of a task that has ended, as an INSERT."""
    return _insert_event("NEW", "NEW.status")


def outbox_of_retried() -> str:
    """Return these rows for an ended task that is pending again."""
    return _insert_event("NEW", "'retried'")


def outbox_of_deleted() -> str:
    """Return these rows for a task that is deleted, whatever its status."""
    return _insert_event("OLD", "'deleted'")


_BIT = " ".join(f"WHEN '{status}' THEN {bit}" for status, bit in BIT_OF_END.items())
# Whether consumer 0 is to be told of this end, and not of each event, of which it is told already.
END_IS_WANTED = f"""NEW.followers >= {min(BIT_OF_END.values())} AND (NEW.followers & 1) = 0
    AND OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL
    AND (NEW.followers & CASE NEW.status {_BIT} END) <> 0"""


def outbox_of_wanted_end() -> str:
    """Return the row of an end that is wanted, by itself, as an INSERT."""
    values = ", ".join(f"NEW.{name}" for name in _EVENT_COLUMNS)
    return f"""INSERT INTO task_outbox (consumer, task_id, user_id, event, {", ".join(_EVENT_COLUMNS)})
        VALUES (0, NEW.id, NEW.user_id, NEW.status, {values});"""  # noqa: S608 (constants)  # nosec B608


def _insert_event(row: str, event: str) -> str:
    values = ", ".join(f"{row}.{name}" for name in _EVENT_COLUMNS)
    return f"""INSERT INTO task_outbox (consumer, task_id, user_id, event, {", ".join(_EVENT_COLUMNS)})
        SELECT consumers.number, {row}.id, {row}.user_id, {event}, {values}
        FROM ({_CONSUMERS}) AS consumers
        WHERE (({row}.followers >> consumers.number) & 1) = 1;"""  # noqa: S608 (constants)  # nosec B608


# -- Why a task waits, as far as the database knows: an expression that is evaluated with the task's row ---------------
# `no_worker` is not among the reasons: workers come and go without a change in any row. `ready` is what is left, and
# `app/core/served_tasks.py` tells `no_worker` from `turn`.


def waiting_reason(row: str, now: str) -> str:
    """Return the reason for which the pending task waits whose columns stand behind `row`."""
    return f"""CASE
    WHEN {row}run_at > {now} THEN CASE WHEN {row}failures > 0 THEN 'retry' ELSE 'schedule' END
    WHEN EXISTS (
        SELECT 1 FROM claim_holds AS hold WHERE hold.kind = 'queue' AND hold.name = {row}queue
    ) THEN 'paused'
    WHEN {row}held <> '{HIDDEN_HOLD}' THEN {row}held
    ELSE 'ready'
END"""  # noqa: S608 (constants)  # nosec B608


def waits(now: str) -> str:
    """Return the reason for which a row of `tasks` waits; NULL unless it is pending."""
    return f"CASE WHEN tasks.status = 'pending' THEN {waiting_reason('tasks.', now)} END"
