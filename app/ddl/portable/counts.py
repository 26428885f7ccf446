"""The rows that the triggers on `tasks` add to `task_count_changes` on MySQL and SQLite: one for each change of a task.

They are those of `app/ddl/postgresql/counts.py`. Two of its triggers are missing. Who folds the rows adds their
bytes to `stored_bytes`: here a trigger would do so for each row. And nothing sees a TRUNCATE, which SQLite does not
have.
"""

from dataclasses import dataclass

from app.ddl.sizes import task_bytes
from app.ddl.trigger_terms import KIND, MESSAGE_CHARACTERS

_COUNTED_UNDER = ("user_id", "status", *KIND)
# Columns without which no counted thing of an ended task changes: its other sizes move with the status alone.
MOVING = ("status", *KIND, "attached_bytes", "error_fingerprint")


ATTEMPT_BEFORE = "(SELECT finished_at FROM task_attempts WHERE task_id = NEW.id AND number = NEW.attempt - 1)"


@dataclass(frozen=True)
class Spelling:
    """How an engine writes the later of two times, and the seconds between them: with {0} and {1}."""

    later: str
    seconds: str


def leaves() -> str:
    """Takes back what an ended task counted before the change."""
    return _insert("OLD", -1)


def stays() -> str:
    """Counts a task that is ended after the change, and was before."""
    return _insert("NEW", 1)


def inserted() -> str:
    """Counts a row that is inserted as an ended task."""
    return _insert("NEW", 1, ended_at="NEW.finished_at")


def enters(spelling: Spelling, attempt_before: str) -> str:
    """Counts a task that ends. `attempt_before`: when the attempt before the last one ended, or NULL.

    A task that is retried through the API was due at a time that nothing tells any more. The loss or return of an
    attempt moves no `run_at`; its row tells when the task was due again.
    """
    due = "NEW.created_at"
    for later in ("NEW.run_at", attempt_before):
        due = spelling.later.format(due, f"coalesce({later}, NEW.created_at)")
    waited = _if("OLD.status = 'running' AND NEW.generation = 1", spelling.seconds.format(due, "NEW.started_at"))
    ran = _if("OLD.status = 'running'", spelling.seconds.format("NEW.started_at", "NEW.finished_at"))
    return _insert("NEW", 1, ended_at="NEW.finished_at", waited=waited, ran=ran)


def _if(condition: str, value: str) -> str:
    return f"CASE WHEN {condition} THEN {value} END"


def _insert(row: str, number: int, **more: str) -> str:
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
