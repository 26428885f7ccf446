"""What a stored task says as a request, with some of its fields replaced by what a client sends.

A client sends back what an answer showed: `***` stands for the secret that is stored in the same place.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from app.catalogue import catalogue, find_type
from app.core.json_text import Forms
from app.core.redacted_text import redact_text
from app.core.redaction import MASK, Parameters, holds_mask, redact, restore_secrets
from app.errors import InvalidTask, InvalidTransition
from app.models.task import TERMINAL, Task
from app.schemas.task import TaskCreate
from app.services.tasks.new_rows import check_arguments, check_references, parse
from app.workflows import references

ARGUMENTS = frozenset({"args", "kwargs"})
# The field of metadata that has the nominal time for which a schedule has made the task.
SCHEDULED_FOR = "scheduled_for"
# A new task that repeats an old one has these only if the request names them.
_NOT_COPIED = frozenset({"run_at", "delay_seconds", "expires_at", "depends_on", "unique_key", "on_conflict"})
_COPIED = [name for name in TaskCreate.model_fields if name not in _NOT_COPIED]
IDENTITY = ("name", "task_type", "celery_task_name")


def repeated(task: Task, changes: dict[str, Any], *, by_owner: bool = True) -> TaskCreate:
    """Return the request for a new task: that of this one, which has ended, with the changes. `by_owner`: `restored`.

    Raises InvalidTransition, InvalidTask.
    """
    if task.status not in TERMINAL:
        raise InvalidTransition(f"Cannot retry a task that is {task.status}")
    if changes.get("celery_task_name", task.celery_task_name) != task.celery_task_name:
        message = "a retry runs the same task: create a new one for another"
        raise _refused(["celery_task_name"], message, "another_task")
    if task.workflow_id is not None:
        _check_no_references(task, changes)
    request = {name: _requested(task, name) for name in _COPIED} | restored(task, changes, by_owner=by_owner)
    if request["limit"] is None and "limit_key" not in changes:
        request["limit_key"] = None
    return parse(request)


def checked(task: Task, changes: dict[str, Any]) -> dict[str, Any]:
    """Return the changes of a task that has not started, as a submit would take them.

    Raises InvalidTask, UnknownTask, InvalidArguments.
    """
    stored = {*IDENTITY, *(ARGUMENTS if ARGUMENTS & changes.keys() else ())}
    wanted = parse({name: getattr(task, name) for name in stored} | restored(task, changes))
    if ARGUMENTS & changes.keys():
        check = check_arguments if task.workflow_id is None else check_references
        check(find_type(task.celery_task_name), wanted)
    return {name: getattr(wanted, name) for name in changes}


def restored(task: Task, changes: dict[str, Any], *, by_owner: bool = True) -> dict[str, Any]:
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


def with_its_time(task: Task, metadata: Mapping[str, Any]) -> dict[str, Any]:
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
            raise _refused([name], message, "reference")


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
        raise _refused([kept[0]], message, "hidden_value")


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
    return _refused(where, message, "hidden_value")


def _refused(where: list[str | int], message: str, kind: str) -> InvalidTask:
    return InvalidTask(errors=[{"loc": where, "msg": message, "type": kind}])
