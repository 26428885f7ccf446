"""The changes that a PATCH may make, and how a change of a pending task affects its turn."""

from collections.abc import Callable
from typing import Any

from sqlalchemy.orm import Session

from app.catalogue import catalogue
from app.core.redaction import holds_mask, restore_secrets
from app.errors import InvalidTask, InvalidTransition
from app.messaging.routing import QUEUE_OF
from app.models.task import Task, TaskStatus
from app.services.tasks import task_changes
from app.services.tasks.load import attached_bytes

PENDING_ONLY = frozenset({"priority", "run_at", "expires_at"})
MOVES_TURN = frozenset({"priority", "run_at"})
STATE = frozenset({"status", "progress", "progress_detail", "result"})


def split(changes: dict[str, Any], check_admin: Callable[[str], None] | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the changes of the task's own fields, and those of its state.

    Passes on what `check_admin` raises for the latter.
    """
    state = {name: value for name, value in changes.items() if name in STATE}
    if state and check_admin is not None:
        check_admin(f"set {', '.join(sorted(state))}")
    return {name: value for name, value in changes.items() if name not in STATE}, state


def edit(db: Session, task: Task, changes: dict[str, Any]) -> bool:
    """Change this version of the task. Returns False if it has changed since. Raises InvalidTransition, InvalidTask."""
    pending_only = PENDING_ONLY & changes.keys()
    if pending_only and task.status is not TaskStatus.PENDING:
        raise InvalidTransition(
            f"{', '.join(sorted(pending_only))} can change only while pending; the task is {task.status}"
        )
    values = _values(task, changes)
    return task_changes.patch(
        db, task.id, task.version, values, pending_only=bool(pending_only), more_bytes=_more_bytes(task, values)
    )


def _values(task: Task, changes: dict[str, Any]) -> dict[str, Any]:
    values = {"metadata_" if name == "metadata" else name: value for name, value in changes.items()}
    if "metadata_" in values:
        values["metadata_"] = _unmasked(task.metadata_, values["metadata_"])
    if "priority" in values:
        kind = catalogue().get(task.celery_task_name)
        values["queue"] = (kind.queue if kind else None) or QUEUE_OF[values["priority"]]
    if MOVES_TURN & values.keys():
        values |= task_changes.due_values(values)
    return values


def _more_bytes(task: Task, values: dict[str, Any]) -> int:
    """Return by how much the change makes the fields larger that `tasks.attached_bytes` counts."""
    before = {"name": task.name, "tags": task.tags, "metadata_": task.metadata_}
    if not before.keys() & values.keys():
        return 0
    name, tags, metadata = (values.get(field, value) for field, value in before.items())
    return attached_bytes(name, tags, metadata) - attached_bytes(task.name, task.tags, task.metadata_)


def _unmasked(stored: dict[str, Any], sent: dict[str, Any]) -> dict[str, Any]:
    """Restore the secrets of a client that sends back redacted metadata. Raises InvalidTask for other masks."""
    values: dict[str, Any] = restore_secrets(stored, sent)
    if holds_mask(values):
        problem = "*** replaces a hidden value, but none is stored here: send the value itself"
        raise InvalidTask(errors=[{"loc": ["metadata"], "msg": problem, "type": "hidden_value"}])
    return values
