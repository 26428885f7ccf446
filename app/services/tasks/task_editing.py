"""The changes that a PATCH may make, and how a change of a pending task affects its turn."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy.orm import Session

from app.catalogue import catalogue, find_type
from app.core.json_text import json_size
from app.core.nearest import did_you_mean
from app.core.validation_errors import field_errors, name_nearest
from app.db.statements import workflows
from app.errors import FieldError, InvalidTask, InvalidTransition
from app.messaging.application import QUEUE_OF
from app.models.task import Task, TaskPriority, TaskStatus
from app.schemas.task_changes import PENDING_ONLY, TaskPatch
from app.schemas.task_values import PriorityIn
from app.services.accounts.rights import Rights
from app.services.tasks import task_changes, task_files
from app.services.tasks.load import Load, attached_bytes, growth, load_of_row
from app.services.tasks.new_rows import parse
from app.services.tasks.permissions import check_may_create
from app.services.tasks.quotas import quotas
from app.services.tasks.task_requests import ARGUMENTS, IDENTITY, checked, restored, with_its_time
from app.workflows import references

# What a submit checks is checked in the same way.
AS_SUBMITTED = frozenset(PENDING_ONLY) - {"priority", "run_at", "expires_at"}
MOVES_TURN = frozenset({"priority", "run_at"})
_PRIORITY: TypeAdapter[TaskPriority] = TypeAdapter(PriorityIn)
STATE = frozenset({"status", "progress", "progress_detail", "result"})


def split(changes: dict[str, Any], check_admin: Callable[[str], None] | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the changes of the task's own fields, and those of its state.

    Passes on what `check_admin` raises for the latter. Raises InvalidTask for what is no field of a task.
    """
    if strange := changes.keys() - TaskPatch.model_fields.keys():
        errors: list[FieldError] = [{"loc": [name], "msg": "", "type": "extra_forbidden"} for name in sorted(strange)]
        raise InvalidTask(errors=name_nearest(TaskPatch, errors))
    if "priority" in changes:
        changes = changes | {"priority": _priority(changes["priority"])}
    state = {name: value for name, value in changes.items() if name in STATE}
    if state and check_admin is not None:
        check_admin(f"set {', '.join(sorted(state))}")
    return {name: value for name, value in changes.items() if name not in STATE}, state


def _priority(value: Any) -> TaskPriority:
    try:
        return _PRIORITY.validate_python(value)
    except ValidationError as error:
        raise InvalidTask(errors=field_errors(error.errors(include_url=False), "priority")) from None


def edit(
    db: Session, task: Task, changes: dict[str, Any], until_commit: ExitStack | None = None, *, rights: Rights | None,
    by_owner: bool = True,
) -> bool:  # fmt: skip
    """Change this version of the task. Returns False if it has changed since. `by_owner`: `task_requests.restored`.

    With `until_commit`, larger arguments take from the quota of the task's user; the caller closes it after the commit.
    Raises InvalidTransition, InvalidTask, InvalidArguments, UnknownTask, QuotaExceeded; with `rights`, those of the
    caller, TaskNotAllowed and InsufficientScope for new arguments.
    """
    pending_only = changes.keys() & PENDING_ONLY
    if pending_only and task.status is not TaskStatus.PENDING:
        raise InvalidTransition(
            f"{', '.join(sorted(pending_only))} can change only while pending; the task is {task.status}"
        )
    values = _values(task, changes, restored(task, changes, by_owner=by_owner))
    if task.workflow_id is not None:
        _check_references(db, task, values, by_owner=by_owner)
    if rights is not None and ARGUMENTS & values.keys():
        check_may_create([_Changed(task, values)], rights)
    with ExitStack() as reserved:
        reservation = None
        if until_commit is not None and ARGUMENTS & values.keys():
            reservation = quotas.reserve(db, task.user_id, _more_arguments(task, values))
            reserved.callback(reservation.release)
        more = _more_bytes(task, values)
        changed = task_changes.patch(
            db, task.id, task.version, values, pending_only=bool(pending_only), more_bytes=more
        )
        if changed and ARGUMENTS & values.keys():
            _keep_files(db, task, values)
        if changed and until_commit is not None and reservation is not None:
            reserved.pop_all()
            until_commit.push(reservation.end)
    return changed


class _Changed:
    """The task with its new arguments. Of its priority another check knows."""

    priority = None

    def __init__(self, task: Task, values: Mapping[str, Any]) -> None:
        self.celery_task_name = task.celery_task_name
        self.args: list[Any] = values.get("args", task.args)
        self.kwargs: dict[str, Any] = values.get("kwargs", task.kwargs)


def _values(task: Task, changes: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of the changes; `values` are these with their secrets."""
    if "metadata" in values:
        values["metadata_"] = with_its_time(task, values.pop("metadata"))
    as_submitted = {name: value for name, value in changes.items() if name in AS_SUBMITTED}
    if as_submitted:
        values |= checked(task, as_submitted)
    if "max_attempts" in values:
        values |= _attempts(task, values["max_attempts"])
    if "priority" in values:
        kind = catalogue().get(task.celery_task_name)
        values["queue"] = (kind.queue if kind else None) or QUEUE_OF[values["priority"]]
    if MOVES_TURN & values.keys():
        values |= task_changes.due_values(values)
    return values


def _check_references(db: Session, task: Task, values: dict[str, Any], *, by_owner: bool) -> None:
    """Raise InvalidTask for a reference to what is no parent of the task in its workflow.

    And, but `by_owner`, for one that its arguments do not have: it might stand for what is hidden in a result.
    """
    for name in sorted(ARGUMENTS & values.keys()):
        try:
            found = set(references.find(values[name]))
        except references.MalformedReference as error:
            raise _refused(name, str(error), "malformed_reference") from None
        if not by_owner and found - set(references.find([task.args, task.kwargs])):
            message = "only the task's owner may refer to another result, in which values may be hidden"
            raise _refused(name, message, "hidden_value")
        wanted = {each.ref for each in found}
        known = workflows.refs_of_parents(db, task.id) if wanted else set()
        if unknown := wanted - known:
            meant = did_you_mean(min(unknown), known)
            raise _refused(name, f"refers to a task on which this one does not depend{meant}", "unknown_ref")


def _keep_files(db: Session, task: Task, values: dict[str, Any]) -> None:
    """Keep the files that the new arguments name from being deleted. Raises InvalidArguments."""
    parameters = find_type(task.celery_task_name).task_parameters
    if parameters.takes_files:
        wanted = parse({name: values.get(name, getattr(task, name)) for name in (*IDENTITY, *ARGUMENTS)})
        ids = parameters.files(wanted.args, wanted.kwargs)
        task_files.find_named(db, wanted, ids, task.user_id).link(db, [(task.id, ids)], changed=True)


def _refused(field: str, message: str, kind: str) -> InvalidTask:
    return InvalidTask(errors=[{"loc": [field], "msg": message, "type": kind}])


def _attempts(task: Task, wanted: int | None) -> dict[str, Any]:
    """Return the columns of `max_attempts`. Failed attempts stay counted, and one more is left.

    Raises InvalidTask for fewer, UnknownTask if the task's own number is wanted, and there is no such task any more.
    """
    least = task.failures + 1
    if wanted is None:
        kind = find_type(task.celery_task_name)
        return {"max_attempts": max(kind.max_attempts, least), "max_attempts_named": kind.max_attempts_named}
    if wanted < least:
        message = f"The task has failed {task.failures} times: send {least} or more"
        raise _refused("max_attempts", message, "too_few_attempts")
    return {"max_attempts": wanted, "max_attempts_named": True}


def _more_arguments(task: Task, values: dict[str, Any]) -> Load:
    """Return what the change adds to the quotas of queued and of kept bytes."""
    before, after = (
        load_of_row(json_size(args) + json_size(kwargs), 0)
        for args, kwargs in (
            (task.args, task.kwargs),
            (values.get("args", task.args), values.get("kwargs", task.kwargs)),
        )
    )
    return growth(before, after)


def _more_bytes(task: Task, values: dict[str, Any]) -> int:
    """Return by how much the change makes the fields larger that `tasks.attached_bytes` counts."""
    before = {"name": task.name, "tags": task.tags, "metadata_": task.metadata_}
    if not before.keys() & values.keys():
        return 0
    name, tags, metadata = (values.get(field, value) for field, value in before.items())
    return attached_bytes(name, tags, metadata) - attached_bytes(task.name, task.tags, task.metadata_)
