"""What a client changes of a stored task: of the task itself, by a PATCH, or of a new one that repeats it.

The stored task says what it was as a request, in which some fields are replaced. A client sends back what an answer
showed: `***` stands for the secret that is stored in the same place.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy.orm import Session

from app.catalogue import catalogue, find_type
from app.core.json_text import Forms, json_size
from app.core.nearest import did_you_mean
from app.core.redacted_text import redact_text
from app.core.redaction import MASK, Parameters, holds_mask, redact, restore_secrets
from app.core.validation_errors import field_errors, name_nearest
from app.db.statements import workflows
from app.errors import FieldError, InvalidTask, InvalidTransition, Text
from app.messaging.application import QUEUE_OF
from app.models.task import TERMINAL, Task, TaskPriority, TaskStatus
from app.schemas.task import TaskCreate
from app.schemas.task_changes import PENDING_ONLY, TaskPatch
from app.schemas.values import PriorityIn
from app.services.accounts.users import Rights
from app.services.tasks import task_changes, task_dependencies
from app.services.tasks.new_rows import check_arguments, check_references, parse
from app.services.tasks.permissions import check_may_create
from app.services.tasks.quotas import Load, attached_bytes, load_growth, load_of_row, quotas
from app.workflows import references

ARGUMENTS = frozenset({"args", "kwargs"})
# The field of metadata that has the nominal time for which a schedule has made the task.
SCHEDULED_FOR = "scheduled_for"
# A new task that repeats an old one has these only if the request names them.
_NOT_COPIED = frozenset({"run_at", "delay_seconds", "expires_at", "depends_on", "unique_key", "on_conflict"})
COPIED = [name for name in TaskCreate.model_fields if name not in _NOT_COPIED]
IDENTITY_FIELDS = ("name", "task_type", "celery_task_name")


def repeated_request(task: Task, changes: dict[str, Any], *, by_owner: bool = True) -> TaskCreate:
    """Return the request for a new task: that of this one, which has ended, with the changes.

    `by_owner`: as in `restored_changes`. Raises InvalidTransition, InvalidTask.
    """
    if task.status not in TERMINAL:
        raise InvalidTransition(Text("Cannot retry a task that is {}", task.status))
    if changes.get("celery_task_name", task.celery_task_name) != task.celery_task_name:
        message = "a retry runs the same task: create a new one for another"
        raise InvalidTask.at(["celery_task_name"], message, "another_task")
    if task.workflow_id is not None:
        _check_no_references(task, changes)
    request = {name: _requested(task, name) for name in COPIED} | restored_changes(task, changes, by_owner=by_owner)
    if request["limit"] is None and "limit_key" not in changes:
        request["limit_key"] = None
    return parse(request)


def checked_changes(task: Task, changes: dict[str, Any]) -> dict[str, Any]:
    """Return the changes of a task that has not started, as a submit would take them.

    Raises InvalidTask, UnknownTask, InvalidArguments.
    """
    stored = {*IDENTITY_FIELDS, *(ARGUMENTS if ARGUMENTS & changes.keys() else ())}
    wanted = parse({name: getattr(task, name) for name in stored} | restored_changes(task, changes))
    if ARGUMENTS & changes.keys():
        check = check_arguments if task.workflow_id is None else check_references
        check(find_type(task.celery_task_name), wanted)
    return {name: getattr(wanted, name) for name in changes}


def restored_changes(task: Task, changes: dict[str, Any], *, by_owner: bool = True) -> dict[str, Any]:
    """Return the changes with the secrets that the client saw as `***`.

    Who is not the owner by a login could have a kept secret sent elsewhere: they keep one only where every other
    argument is as it was. Raises InvalidTask there, and for a mask where nothing is stored.
    """
    values = dict(changes)
    for name, stored in (("metadata", task.metadata_), ("kwargs", task.kwargs)):
        if name in values:
            values[name] = restore_secrets(stored, values[name])
            if holds_mask(values[name]):
                raise _hidden([name])
    if isinstance(values.get("args"), list | tuple):
        kind = catalogue().get(task.celery_task_name)
        positions = kind.positions if kind else Parameters()
        values["args"] = positions.restore(task.args, values["args"])
        for at in positions.masked(values["args"]):
            raise _hidden(["args", at])
    if task.webhook_url is not None and values.get("webhook_url") == redact_text(task.webhook_url):
        values["webhook_url"] = task.webhook_url
    if not by_owner:
        _check_kept(task, changes, values)
    return values


def with_scheduled_time(task: Task, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return new metadata of a task. That of a schedule keeps its nominal time: a backfill would make it twice."""
    if task.schedule_id is None:
        return dict(metadata)
    of_others = {name: value for name, value in metadata.items() if name != SCHEDULED_FOR}
    return of_others | {name: value for name, value in task.metadata_.items() if name == SCHEDULED_FOR}


def _check_no_references(task: Task, changes: Mapping[str, Any]) -> None:
    """Raise InvalidTask if the new task, which is of no workflow, would be called with a reference as it stands."""
    for name in sorted(ARGUMENTS - changes.keys()):
        if references.holds_any(getattr(task, name)):
            message = "refers to results of its workflow, which a new task does not have: send it with values"
            raise InvalidTask.at([name], message, "reference")


def _check_kept(task: Task, sent: dict[str, Any], values: dict[str, Any]) -> None:
    """Raise InvalidTask if a secret of the arguments is kept, and anything else is sent than what an answer shows.

    Arguments that are not sent are kept too, with what is hidden in them. Another secret that is sent in clear is
    refused, right or wrong: who may not see it could find it by trying.
    """
    if not ARGUMENTS & values.keys():
        return
    kind = catalogue().get(task.celery_task_name)
    positions = kind.positions if kind else Parameters()
    stored = {"args": list(task.args), "kwargs": task.kwargs}
    shown = {"args": positions.redact(task.args), "kwargs": redact(task.kwargs)}
    kept = [
        name
        for name in sorted(ARGUMENTS)
        if (values[name] != sent[name] if name in values else shown[name] != stored[name])
    ]
    wanted = shown | {name: sent[name] for name in ARGUMENTS & sent.keys()}
    forms = Forms()
    before, after = (_by_name(positions.names, **each) for each in (shown, wanted))
    if kept and forms.of(before) != forms.of(after):
        message = (
            f"{MASK} keeps a hidden value only where every other argument is as it was: send the value itself, or have "
            "the owner of the task change it by a login"
        )
        raise InvalidTask.at([kept[0]], message, "hidden_value")


def _by_name(names: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    """Return the arguments by the names of their parameters, and those that have none.

    Beside a parameter that is filled by position alone, `**kwargs` may hold the same name.
    """
    by_position = {(name, name in kwargs): value for name, value in zip(names, args, strict=False)}
    by_name = {(name, False): value for name, value in kwargs.items()}
    return [{**by_name, **by_position}, list(args[len(names) :])]


def _requested(task: Task, name: str) -> Any:
    """Return the field as the request for this task had it, as far as the row tells."""
    if name == "metadata":
        return task.metadata_
    if name == "max_attempts":
        kind = catalogue().get(task.celery_task_name)
        is_default = not task.max_attempts_named or (kind is not None and kind.max_attempts == task.max_attempts)
        return None if is_default else task.max_attempts
    return getattr(task, name)


def _hidden(where: list[str | int]) -> InvalidTask:
    message = f"{MASK} replaces a hidden value, but none is stored here: send the value itself"
    return InvalidTask.at(where, message, "hidden_value")


# -- The changes that a PATCH may make, and how a change of a pending task affects its turn ----------------------------

# What a submit checks is checked in the same way.
AS_SUBMITTED = frozenset(PENDING_ONLY) - {"priority", "run_at", "expires_at"}
MOVES_TURN = frozenset({"priority", "run_at"})
_PRIORITY: TypeAdapter[TaskPriority] = TypeAdapter(PriorityIn)
STATE_FIELDS = frozenset({"status", "progress", "progress_detail", "result"})


def split_changes(
    changes: dict[str, Any], check_admin: Callable[[str], None] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the changes of the task's own fields, and those of its state.

    Passes on what `check_admin` raises for the latter. Raises InvalidTask for what is no field of a task.
    """
    if strange := changes.keys() - TaskPatch.model_fields.keys():
        errors: list[FieldError] = [{"loc": [name], "msg": "", "type": "extra_forbidden"} for name in sorted(strange)]
        raise InvalidTask(errors=name_nearest(TaskPatch, errors))
    if "priority" in changes:
        changes = changes | {"priority": _priority(changes["priority"])}
    state = {name: value for name, value in changes.items() if name in STATE_FIELDS}
    if state and check_admin is not None:
        check_admin(f"set {', '.join(sorted(state))}")
    return {name: value for name, value in changes.items() if name not in STATE_FIELDS}, state


def _priority(value: Any) -> TaskPriority:
    try:
        return _PRIORITY.validate_python(value)
    except ValidationError as error:
        raise InvalidTask(errors=field_errors(error.errors(include_url=False), "priority")) from None


def edit_task(
    db: Session, task: Task, changes: dict[str, Any], until_commit: ExitStack | None = None, *, rights: Rights | None,
    by_owner: bool = True,
) -> bool:  # fmt: skip
    """Change this version of the task. Returns False if it has changed since. `by_owner`: `restored_changes`.

    With `until_commit`, larger arguments take from the quota of the task's user; the caller closes it after the commit.
    Raises InvalidTransition, InvalidTask, InvalidArguments, UnknownTask, QuotaExceeded; with `rights`, those of the
    caller, TaskNotAllowed and InsufficientScope for new arguments.
    """
    pending_only = changes.keys() & PENDING_ONLY
    if pending_only and task.status is not TaskStatus.PENDING:
        raise InvalidTransition(
            Text("{} can change only while pending; the task is {}", ", ".join(sorted(pending_only)), task.status)
        )
    values = _changed_columns(task, changes, restored_changes(task, changes, by_owner=by_owner))
    if task.workflow_id is not None:
        _check_references(db, task, values, by_owner=by_owner)
    if rights is not None and ARGUMENTS & values.keys():
        check_may_create([_Changed(task, values)], rights)
    with ExitStack() as reserved:
        reservation = None
        if until_commit is not None and ARGUMENTS & values.keys():
            reservation = quotas.reserve(db, task.user_id, _more_arguments(task, values))
            reserved.callback(reservation.end, committed=False)
        more = _more_bytes(task, values)
        changed = task_changes.patch(
            db, task.id, task.version, values, pending_only=bool(pending_only), more_bytes=more
        )
        if changed and ARGUMENTS & values.keys():
            _keep_files(db, task, values)
        if changed and until_commit is not None and reservation is not None:
            reserved.pop_all()
            until_commit.push(reservation)
    return changed


class _Changed:
    """The task with its new arguments. Of its priority another check knows."""

    priority = None

    def __init__(self, task: Task, values: Mapping[str, Any]) -> None:
        self.celery_task_name = task.celery_task_name
        self.args: list[Any] = values.get("args", task.args)
        self.kwargs: dict[str, Any] = values.get("kwargs", task.kwargs)


def _changed_columns(task: Task, changes: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of the changes; `values` are these with their secrets."""
    if "metadata" in values:
        values["metadata_"] = with_scheduled_time(task, values.pop("metadata"))
    as_submitted = {name: value for name, value in changes.items() if name in AS_SUBMITTED}
    if as_submitted:
        values |= checked_changes(task, as_submitted)
    if "max_attempts" in values:
        values |= _attempt_columns(task, values["max_attempts"])
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
            raise InvalidTask.at([name], str(error), "malformed_reference") from None
        if not by_owner and found - set(references.find([task.args, task.kwargs])):
            message = "only the task's owner may refer to another result, in which values may be hidden"
            raise InvalidTask.at([name], message, "hidden_value")
        wanted = {each.ref for each in found}
        known = workflows.refs_of_parents(db, task.id) if wanted else set()
        if unknown := wanted - known:
            meant = did_you_mean(min(unknown), known)
            raise InvalidTask.at(
                [name], Text("refers to a task on which this one does not depend{}", meant), "unknown_ref"
            )


def _keep_files(db: Session, task: Task, values: dict[str, Any]) -> None:
    """Keep the files that the new arguments name from being deleted. Raises InvalidArguments."""
    parameters = find_type(task.celery_task_name).task_parameters
    if parameters.takes_files:
        wanted = parse({name: values.get(name, getattr(task, name)) for name in (*IDENTITY_FIELDS, *ARGUMENTS)})
        ids = parameters.files(wanted.args, wanted.kwargs)
        task_dependencies.find_named_files(db, wanted, ids, task.user_id).link(db, [(task.id, ids)], changed=True)


def _attempt_columns(task: Task, wanted: int | None) -> dict[str, Any]:
    """Return the columns of `max_attempts`. Failed attempts stay counted, and one more is left.

    Raises InvalidTask for fewer, UnknownTask if the task's own number is wanted, and there is no such task any more.
    """
    least = task.failures + 1
    if wanted is None:
        kind = find_type(task.celery_task_name)
        return {"max_attempts": max(kind.max_attempts, least), "max_attempts_named": kind.max_attempts_named}
    if wanted < least:
        message = Text("The task has failed {} times: send {} or more", task.failures, least)
        raise InvalidTask.at(["max_attempts"], message, "too_few_attempts")
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
    return load_growth(before, after)


def _more_bytes(task: Task, values: dict[str, Any]) -> int:
    """Return by how much the change makes the fields larger that `tasks.attached_bytes` counts."""
    before = {"name": task.name, "tags": task.tags, "metadata_": task.metadata_}
    if not before.keys() & values.keys():
        return 0
    name, tags, metadata = (values.get(field, value) for field, value in before.items())
    return attached_bytes(name, tags, metadata) - attached_bytes(task.name, task.tags, task.metadata_)
