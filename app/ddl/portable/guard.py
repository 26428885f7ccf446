"""What the trigger on `tasks` refuses: every UPDATE that breaks the state machine or, but on PostgreSQL, a limit.

The service's own statements carry the same guards. The trigger catches a statement without them. Each engine renders
the rules in its own language. PostgreSQL has further triggers for limits and pauses (`app/ddl/postgresql/`).
Elsewhere limits are in this one: each further trigger costs MySQL as much as its rules. A pause needs none there, since
each claim locks the row that a pause locks (`app/db/statements/claim_holds.py`).
"""

from collections.abc import Callable
from typing import TypeAlias

from app.ddl.trigger_terms import USER_LIMIT

# Conditions on OLD and NEW in turn, each with what is said then, or with the rules that are left. The first that is met
# decides; where none is, the row goes through.
Rules: TypeAlias = list[tuple[str, "str | Rules"]]

_CLAIMED = "OLD.status = 'pending' AND NEW.status = 'running'"
_RETRIED = "OLD.status IN ('failed', 'revoked') AND NEW.status = 'pending'"


def rules(differ: Callable[[str], str], *, of_limits: bool = True) -> Rules:
    """The rules. `differ(column)`: the condition that OLD and NEW differ, one of which may be NULL."""
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
