"""What a PATCH may change, and what a change of a pending task means for its dispatch."""

from collections.abc import Callable
from typing import Any

from sqlalchemy.orm import Session

from app.catalogue import catalogue
from app.core.redaction import holds_mask, with_secrets_of
from app.errors import InvalidTask, InvalidTransition
from app.messaging.dispatches import Dispatch
from app.messaging.routing import QUEUE_OF
from app.models.task import Task, TaskStatus
from app.services.tasks import task_changes

PENDING_ONLY = frozenset({"priority", "run_at", "expires_at"})
MOVES_DISPATCH = frozenset({"priority", "run_at"})
STATE = frozenset({"status", "progress", "progress_detail", "result"})


def split(changes: dict[str, Any], check_admin: Callable[[str], None] | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The changes of the task's own fields, and those of its state. Raises what `check_admin` does for the latter."""
    state = {name: value for name, value in changes.items() if name in STATE}
    if state and check_admin is not None:
        check_admin(f"set {', '.join(sorted(state))}")
    return {name: value for name, value in changes.items() if name not in STATE}, state


def edit(db: Session, task: Task, changes: dict[str, Any]) -> bool:
    """Change this version of the task; False when it has moved on. Raises InvalidTransition, InvalidTask."""
    pending_only = PENDING_ONLY & changes.keys()
    if pending_only and task.status is not TaskStatus.PENDING:
        raise InvalidTransition(f"{', '.join(sorted(pending_only))}: only while pending, not {task.status}")
    return task_changes.patch(db, task.id, task.version, _values(task, changes), pending_only=bool(pending_only))


def due_now(task: Task, changes: dict[str, Any]) -> list[Dispatch]:
    """The new message that a changed `priority` or `run_at` calls for, unless the task is to wait."""
    if not MOVES_DISPATCH & changes.keys() or task.dispatch_at == task.run_at:
        return []
    return [Dispatch.of(task)]


def _values(task: Task, changes: dict[str, Any]) -> dict[str, Any]:
    values = {"metadata_" if name == "metadata" else name: value for name, value in changes.items()}
    if "metadata_" in values:
        values["metadata_"] = _unmasked(task.metadata_, values["metadata_"])
    if "priority" in values:
        kind = catalogue().get(task.celery_task_name)
        values["queue"] = (kind.queue if kind else None) or QUEUE_OF[values["priority"]]
    if MOVES_DISPATCH & values.keys():
        values |= task_changes.due_values(values)
    return values


def _unmasked(stored: dict[str, Any], sent: dict[str, Any]) -> dict[str, Any]:
    """A client that sends back what it was shown keeps its secrets; a `***` that stands for none is no value."""
    values: dict[str, Any] = with_secrets_of(stored, sent)
    if holds_mask(values):
        problem = "*** stands for a value that is not shown, and there is none here: send the value itself"
        raise InvalidTask(errors=[{"loc": ["body", "metadata"], "msg": problem, "type": "hidden_value"}])
    return values
