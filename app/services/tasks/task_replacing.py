"""Replacing all that a request says of a pending task. Its id, its celery_task_name and its past attempts stay."""

from datetime import timedelta
from typing import Any

from sqlalchemy.orm import Session

from app.db.clock import STATEMENT_TIME
from app.models.task import Task
from app.schemas.task import TaskCreate
from app.services.tasks import limited_tasks, task_changes
from app.services.tasks.load import Load, attached_bytes, growth, load_of
from app.services.tasks.task_creation import NewTask, wake, wake_if_due

_AS_GIVEN = (
    *("name", "task_type", "args", "kwargs", "priority", "tags", "delay_seconds", "expires_at"),
    *("timeout_seconds", "retry_backoff_seconds", "on_conflict"),
)
_AS_DERIVED = ("queue", "max_attempts_named", "rerun_lost")


def added_load(task: Task, wanted: TaskCreate) -> Load:
    """Return what the replacement adds to the quotas: bytes, and no task. Never less than nothing."""
    return growth(load_of([task]), load_of([wanted]))


def replace(db: Session, task: Task, wanted: TaskCreate, row: NewTask) -> bool:
    """Replace this version of a pending task by what `wanted` and its `row` say. Returns False if it has changed since.

    It keeps its place in the queue unless its queue, its priority or its start is another one. Raises UnknownLimit.
    """
    values = _values(task, wanted, row)
    moves = not _keeps_place(task, values)
    if moves:
        values |= task_changes.due_values(values)
    if row.limit is not None:
        limited_tasks.keep(db, [row.limit])
    # With another limit it waits for a place anew; it has none of that limit.
    relimits = any(getattr(task, name) != values[name] for name in ("limit", "limit_key", "user_limited"))
    if moves or relimits:
        values["held"] = row.values.get("held")
    before = attached_bytes(task.name, task.tags, task.metadata_)
    more = attached_bytes(wanted.name, wanted.tags, wanted.metadata) - before
    if not task_changes.patch(db, task.id, task.version, values, pending_only=True, more_bytes=more):
        return False
    if moves:
        wake_if_due(db, task.id, values["queue"])
    elif relimits:
        wake(db, task.id, values["queue"])
    return True


def _values(task: Task, wanted: TaskCreate, row: NewTask) -> dict[str, Any]:
    values = {name: getattr(wanted, name) for name in _AS_GIVEN} | {name: row.values[name] for name in _AS_DERIVED}
    values["metadata_"] = wanted.metadata
    values |= {name: row.values.get(name) for name in ("limit", "limit_key", "user_limited", "retry_of")}
    # Failed attempts stay counted: one more attempt is left in any case.
    values["max_attempts"] = max(row.values["max_attempts"], task.failures + 1)
    values["run_at"] = wanted.run_at
    if wanted.delay_seconds is not None:
        values["run_at"] = STATEMENT_TIME + timedelta(seconds=wanted.delay_seconds)
    return values


def _keeps_place(task: Task, values: dict[str, Any]) -> bool:
    """Whether the task waits in its queue, and the replacement is due now in the same place."""
    waits = task.turn is not None
    same = (task.queue, task.priority) == (values["queue"], values["priority"])
    return waits and same and values["run_at"] is None
