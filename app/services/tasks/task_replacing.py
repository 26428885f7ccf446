"""Replacing all that a request says of a pending task. Its id, its celery_task_name and its past attempts stay."""

from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from app.db.statements import dependencies
from app.ddl.clock import STATEMENT_TIME
from app.models.audit import AuditEvent
from app.models.task import Held, Task
from app.schemas.task import TaskCreate
from app.services.audit import recording as audit
from app.services.tasks import task_changes, task_steps
from app.services.tasks.load import Load, attached_bytes, attached_to, growth, load_of
from app.services.tasks.new_rows import COLUMNS, NewTask
from app.services.tasks.task_requests import with_its_time
from app.services.tasks.waking import wake, wake_if_due

# What stays as it was, and what is computed here.
_KEPT = frozenset(
    {"id", "celery_id", "user_id", "celery_task_name", "unique_key", "active_key", "followers", "schedule_id"}
)
_COMPUTED = frozenset({"metadata", "max_attempts", "run_at", "held", "attached_bytes"})
_COLUMN_OF = {"metadata": "metadata_"}
_REPLACED = [name for name in COLUMNS if name not in _KEPT | _COMPUTED]


def added_load(task: Task, row: NewTask) -> Load:
    """Return what the replacement adds to the quotas: bytes, and no task. Never less than nothing."""
    return growth(load_of(task), row.load)


def replace(db: Session, task: Task, row: NewTask) -> bool:
    """Replace this version of a pending task by what the row says. Returns False if it has changed since.

    It keeps its place in the queue unless its queue, its priority or its start is another one.
    """
    values = _values(task, row)
    waits = row.values.get("held") == Held.DEPENDENCY
    moves = waits or not _keeps_place(task, values)
    if moves:
        values |= task_changes.due_values(values, waits=waits)
    # With another limit it waits for a place anew; it has none of that limit.
    relimits = any(getattr(task, name) != values[name] for name in ("limit", "limit_key", "user_limited"))
    if moves or relimits:
        values["held"] = row.values.get("held")
    after = attached_bytes(values["name"], values["tags"], values["metadata_"], len(row.parents))
    more = after - attached_to(task)
    if not task_changes.patch(db, task.id, task.version, values, pending_only=True, more_bytes=more):
        return False
    audit.record_task(db, AuditEvent.TASK_CHANGED, task, fields=_changed_fields(task, values))
    if task.depends_on:
        dependencies.delete_edges(db, task.id)  # those of the request are written next
    if task.attempt:
        task_steps.clear(db, task.id)
    if moves:
        wake_if_due(db, task.id, values["queue"])
    elif relimits:
        wake(db, task.id, values["queue"])
    return True


def _changed_fields(task: Task, values: dict[str, Any]) -> list[str]:
    """Return the names of the request's fields in which the task becomes another one."""
    return sorted(
        name
        for name, column in ((name, _COLUMN_OF.get(name, name)) for name in TaskCreate.model_fields)
        if column in values and _differs(values[column], getattr(task, column))
    )


def _differs(value: Any, before: Any) -> bool:
    return isinstance(value, ColumnElement) or bool(value != before)


def _values(task: Task, row: NewTask) -> dict[str, Any]:
    wanted = row.wanted
    values = {name: row.values.get(name) for name in _REPLACED}
    # A schedule that fires again into its own task gives it its own time.
    is_its_own = row.values.get("schedule_id") == task.schedule_id
    values["metadata_"] = wanted.metadata if is_its_own else with_its_time(task, wanted.metadata)
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
